package example;

import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.extensions.python.PythonExternalTransform;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.Schema.FieldType;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.Row;
import org.joda.time.Instant;

/** Writes a row with a field of each type that Java and Python both know, and one of nulls; no schema is told. */
public class EveryType {
  static final Schema PLACE =
      Schema.builder().addStringField("city").addNullableDoubleField("height").build();

  static final Schema EVERY_TYPE =
      Schema.builder()
          .addInt64Field("id")
          .addNullableField("flag", FieldType.BOOLEAN)
          .addNullableField("tiny", FieldType.BYTE)
          .addNullableField("small", FieldType.INT16)
          .addNullableField("whole", FieldType.INT32)
          .addNullableField("single", FieldType.FLOAT)
          .addNullableField("number", FieldType.DOUBLE)
          .addNullableField("price", FieldType.DECIMAL)
          .addNullableField("name", FieldType.STRING)
          .addNullableField("raw", FieldType.BYTES)
          .addNullableField("seen", FieldType.DATETIME)
          .addNullableField("tags", FieldType.array(FieldType.STRING))
          .addNullableField("limits", FieldType.map(FieldType.STRING, FieldType.INT64))
          .addNullableField("place", FieldType.row(PLACE))
          .build();

  public static void main(String[] args) {
    RowsToZerobus.Options options =
        PipelineOptionsFactory.fromArgs(args).withValidation().as(RowsToZerobus.Options.class);
    Pipeline pipeline = Pipeline.create(options);

    Row full =
        Row.withSchema(EVERY_TYPE)
            .addValues(1L, true, (byte) 8, (short) -300, -70_000, 0.5f, 0.1)
            .addValues(new BigDecimal("12.50"), "Zürich", new byte[] {'r', 'a', 'w'})
            .addValues(Instant.parse("2026-01-31T12:00:00.123Z"), List.of("a", "b"), Map.of("low", 1L))
            .addValue(Row.withSchema(PLACE).addValues("Zürich", 408.0).build())
            .build();
    Object[] nulls = new Object[EVERY_TYPE.getFieldCount()];
    nulls[0] = 2L;
    Row empty = Row.withSchema(EVERY_TYPE).addValues(nulls).build();

    PCollection<Row> rows = pipeline.apply(Create.of(full, empty).withRowSchema(EVERY_TYPE));
    rows.apply(
        PythonExternalTransform.<PCollection<Row>, PCollection<Row>>from(
                "beam_zerobus.yaml.WriteToZerobus", options.getExpansionService())
            .withKwarg("table", "main.iot.every_type"));

    pipeline.run().waitUntilFinish();
  }
}
