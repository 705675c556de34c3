package example;

import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.extensions.python.PythonExternalTransform;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.options.Default;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.options.Validation;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.ToJson;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionTuple;
import org.apache.beam.sdk.values.Row;

/** Writes rows into the table main.iot.air_quality, and those that it rejects to text files. */
public class RowsToZerobus {
  public interface Options extends PipelineOptions {
    @Validation.Required
    String getExpansionService();

    void setExpansionService(String address);

    @Default.String("rejected")
    String getRejected();

    void setRejected(String filenamePrefix);
  }

  static final Schema READING =
      Schema.builder().addNullableStringField("device").addNullableInt32Field("co2").build();

  public static void main(String[] args) {
    Options options = PipelineOptionsFactory.fromArgs(args).withValidation().as(Options.class);
    Pipeline pipeline = Pipeline.create(options);

    PCollection<Row> readings =
        pipeline.apply(
            Create.of(
                    Row.withSchema(READING).addValues("attic", 417).build(),
                    Row.withSchema(READING).addValues("cellar", null).build(),
                    Row.withSchema(READING).addValues(null, 655).build())
                .withRowSchema(READING));

    PCollectionTuple written =
        readings.apply(
            PythonExternalTransform.<PCollection<Row>, PCollectionTuple>from(
                    "beam_zerobus.yaml.WriteToZerobus", options.getExpansionService())
                .withKwarg("table", "main.iot.air_quality")
                .withKwarg("schema", "device STRING NOT NULL, co2 INT")
                .withKwarg("on_bad_rows", "dead_letter"));

    PCollection<Row> failedRows = written.get("failed_rows");
    failedRows.apply(ToJson.of()).apply(TextIO.write().to(options.getRejected()));

    pipeline.run().waitUntilFinish();
  }
}
