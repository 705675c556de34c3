package example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightDescriptor;
import org.apache.arrow.flight.Location;
import org.apache.arrow.flight.PutResult;
import org.apache.arrow.flight.SyncPutListener;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;

/**
 * Sends RecordBatches to tables through a gateway, and prints a line for each table.
 *
 * <p>GatewayClient LOCATION ROWS ROWS_IN_A_BATCH TABLE...
 */
public final class GatewayClient {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] given) throws Exception {
    long rows = Long.parseLong(given[1]);
    int size = Integer.parseInt(given[2]);
    Location location = new Location(given[0].replace("grpc://", "grpc+tcp://"));
    try (var allocator = new RootAllocator();
        var client = FlightClient.builder(allocator, location).build()) {
      for (String table : List.of(given).subList(3, given.length)) {
        List<String> failures = new ArrayList<>();
        long written = write(client, allocator, table, rows, size, failures);
        System.out.println(
            JSON.writeValueAsString(
                Map.of("table", table, "written", written, "failures", failures)));
      }
    }
  }

  /** Sends the rows in one call, and returns how many are in the table. */
  private static long write(
      FlightClient client,
      RootAllocator allocator,
      String table,
      long rows,
      int size,
      List<String> failures)
      throws Exception {
    long written = 0;
    try (var ids = new BigIntVector("id", allocator);
        var devices = new VarCharVector("device", allocator);
        var root = VectorSchemaRoot.of(ids, devices);
        var results = new SyncPutListener()) {
      var call = client.startPut(FlightDescriptor.path(table), root, results);
      for (long first = 0; first < rows; first += size) {
        int count = (int) Math.min(size, rows - first);
        for (int i = 0; i < count; i++) {
          ids.setSafe(i, first + i);
          devices.setSafe(i, "device".getBytes());
        }
        root.setRowCount(count);
        call.putNext();
      }
      call.completed();
      PutResult result;
      while ((result = results.read()) != null) {
        byte[] content = new byte[(int) result.getApplicationMetadata().readableBytes()];
        result.getApplicationMetadata().getBytes(0, content);
        result.close();
        JsonNode outcome = JSON.readTree(content);
        if (outcome.has("status")) {
          failures.add(outcome.get("status").asText() + ": " + outcome.get("error").asText());
          break;
        }
        written += outcome.get("written").asLong();
      }
    } catch (org.apache.arrow.flight.FlightRuntimeException failure) {
      failures.add(failure.status().code() + ": " + failure.status().description());
    }
    return written;
  }
}
