package example;

import com.databricks.zerobus.NonRetriableException;
import com.databricks.zerobus.StreamConfigurationOptions;
import com.databricks.zerobus.ZerobusJsonStream;
import com.databricks.zerobus.ZerobusProtoStream;
import com.databricks.zerobus.ZerobusSdk;
import com.google.protobuf.DescriptorProtos.DescriptorProto;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** The Java client's program of `make test-sdks`; see tests/sdks/program.py for its commands. */
public final class Client {
  private ZerobusSdk sdk;
  private ZerobusProtoStream proto;
  private ZerobusJsonStream json;

  public static void main(String[] arguments) throws Exception {
    Client client = new Client();
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    System.out.println("ok");
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      System.out.println(client.answer(line.split(" ")));
    }
    System.exit(0);
  }

  private String answer(String[] words) {
    try {
      switch (words[0]) {
        case "open" -> open(words);
        case "send" -> {
          return "ok " + send(words);
        }
        case "wait" -> {
          long offset = Long.parseLong(words[1]);
          if (proto != null) proto.waitForOffset(offset);
          else json.waitForOffset(offset);
        }
        case "flush" -> {
          if (proto != null) proto.flush();
          else json.flush();
        }
        case "close" -> {
          if (proto != null) proto.close();
          else json.close();
        }
        default -> throw new IllegalArgumentException("unknown command " + words[0]);
      }
      return "ok";
    } catch (Throwable error) {
      Throwable cause = error;
      while (cause.getCause() != null && (cause instanceof ExecutionException || cause instanceof CompletionException)) {
        cause = cause.getCause();
      }
      String kind = cause instanceof NonRetriableException ? "final" : "retriable";
      return "error " + kind + " " + String.valueOf(cause.getMessage()).replaceAll("\\s+", " ");
    }
  }

  private void open(String[] words) throws Exception {
    if (sdk != null) sdk.close();
    sdk = new ZerobusSdk(words[1], words[2]);
    proto = null;
    json = null;
    StreamConfigurationOptions options =
        StreamConfigurationOptions.builder()
            .setRecovery(true)
            .setRecoveryBackoffMs(200)
            .setRecoveryRetries(600)
            .setFlushTimeoutMs(40_000)
            .setServerLackOfAckTimeoutMs(Integer.parseInt(words[7]))
            .build();
    if (words[3].equals("proto")) {
      DescriptorProto descriptor = DescriptorProto.parseFrom(HexFormat.of().parseHex(words[8]));
      proto = sdk.createProtoStream(words[4], descriptor, words[5], words[6], options).get();
    } else {
      json = sdk.createJsonStream(words[4], words[5], words[6], options).get();
    }
  }

  private long send(String[] words) throws Exception {
    List<byte[]> records = new ArrayList<>();
    for (int index = 1; index < words.length; index++) {
      records.add(HexFormat.of().parseHex(words[index]));
    }
    if (proto != null) {
      return records.size() == 1
          ? proto.ingestRecordOffset(records.get(0))
          : proto.ingestRecordsOffset(records).orElseThrow();
    }
    List<String> texts = records.stream().map(record -> new String(record, StandardCharsets.UTF_8)).toList();
    return texts.size() == 1 ? json.ingestRecordOffset(texts.get(0)) : json.ingestRecordsOffset(texts).orElseThrow();
  }
}
