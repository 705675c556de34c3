package example;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** An emulator for a test, as a process that ends with the test. */
final class ZerobusEmulator implements AutoCloseable {
  private final Process process;
  private final Map<String, String> settings = new HashMap<>();

  /** Starts it with tables, given as name and columns; returns once it serves. */
  ZerobusEmulator(Map<String, String> tables) throws IOException {
    List<String> command = new ArrayList<>(List.of("beam-zerobus", "emulator", "--until-stdin-closes"));
    tables.forEach((name, columns) -> command.addAll(List.of("--table", name + "=" + columns)));
    process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    BufferedReader output = process.inputReader();
    for (String line = output.readLine(); line != null; line = output.readLine()) {
      if (line.startsWith("export ")) {
        String[] setting = line.substring("export ".length()).split("=", 2);
        settings.put(setting[0], setting[1]);
      } else if (line.startsWith("Stop with")) {
        return;
      }
    }
    throw new IOException("the emulator did not start; its reason is above");
  }

  /** ZEROBUS_ENDPOINT, DATABRICKS_HOST, DATABRICKS_CLIENT_ID, ... */
  String setting(String name) {
    return settings.get(name);
  }

  /** The rows of a table as JSON: {"count": 2, "rows": [...]}. */
  String rows(String table) throws IOException, InterruptedException {
    URI address = URI.create(setting("DATABRICKS_HOST") + "/control/tables/" + table + "/rows");
    String token = "Bearer " + setting("ZEROBUS_CONTROL_TOKEN");
    HttpRequest request = HttpRequest.newBuilder(address).header("Authorization", token).build();
    HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) {
      throw new IOException(answer.body());
    }
    return answer.body();
  }

  @Override
  public void close() throws IOException, InterruptedException {
    process.getOutputStream().close();
    process.waitFor();
  }
}
