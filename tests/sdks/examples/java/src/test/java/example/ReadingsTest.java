package example;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.databricks.zerobus.ZerobusJsonStream;
import com.databricks.zerobus.ZerobusSdk;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class ReadingsTest {
  private static final String TABLE = "main.iot.air_quality";
  private static ZerobusEmulator zerobus;

  @BeforeAll
  static void start() throws Exception {
    zerobus = new ZerobusEmulator(Map.of(TABLE, "device STRING NOT NULL, co2 INT"));
  }

  @AfterAll
  static void stop() throws Exception {
    zerobus.close();
  }

  /** The program under test. */
  private static void writeReadings(List<String> readings) throws Exception {
    ZerobusSdk sdk = new ZerobusSdk(zerobus.setting("ZEROBUS_ENDPOINT"), zerobus.setting("DATABRICKS_HOST"));
    String id = zerobus.setting("DATABRICKS_CLIENT_ID");
    String secret = zerobus.setting("DATABRICKS_CLIENT_SECRET");
    ZerobusJsonStream stream = sdk.createJsonStream(TABLE, id, secret).get();
    for (String reading : readings) {
      stream.ingestRecordOffset(reading);
    }
    stream.flush();
    stream.close();
    sdk.close();
  }

  @Test
  void readingsArrive() throws Exception {
    String reading = "{\"device\":\"attic\",\"co2\":417}";
    writeReadings(List.of(reading));
    assertEquals("{\"count\":1,\"rows\":[" + reading + "]}", zerobus.rows(TABLE).replace(" ", ""));
  }
}
