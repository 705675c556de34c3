// The Node client's program of `make test-sdks`; see tests/sdks/program.py for its commands.
"use strict";

const readline = require("node:readline");
const { ZerobusSdk, RecordType, ArrowDataType } = require("@databricks/zerobus-ingest-sdk-linux-x64-gnu");

const ARROW_TYPES = { int64: ArrowDataType.Int64, int32: ArrowDataType.Int32, text: ArrowDataType.LargeUtf8 };
let stream;
let wireFormat;

const commands = {
  async open(endpoint, workspace, format, tableName, clientId, secret, patience, schema) {
    wireFormat = format;
    const sdk = new ZerobusSdk(endpoint, workspace);
    const limits = {
      recovery: true,
      recoveryBackoffMs: 200,
      recoveryRetries: 600,
      flushTimeoutMs: 40000,
      serverLackOfAckTimeoutMs: Number(patience),
    };
    if (format === "arrow") {
      const schemaFields = schema.split(",").map((field) => {
        const [name, type, nullable] = field.split(":");
        return { name, dataType: ARROW_TYPES[type], nullable: nullable === "null" };
      });
      stream = await sdk.createArrowStream({ tableName, schemaFields }, clientId, secret, limits);
      return;
    }
    const properties = { tableName };
    if (format === "proto") properties.descriptorProto = Buffer.from(schema, "hex").toString("base64");
    const recordType = format === "proto" ? RecordType.Proto : RecordType.Json;
    stream = await sdk.createStream(properties, clientId, secret, { ...limits, recordType });
  },
  send(...records) {
    const raw = records.map((record) => Buffer.from(record, "hex"));
    if (wireFormat === "arrow") return stream.ingestBatch(raw[0]);
    const values = wireFormat === "proto" ? raw : raw.map(String);
    return values.length === 1 ? stream.ingestRecordOffset(values[0]) : stream.ingestRecordsOffset(values);
  },
  wait: (offset) => stream.waitForOffset(BigInt(offset)),
  flush: () => stream.flush(),
  close: () => stream.close(),
};

async function main() {
  console.log("ok");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, ...parameters] = line.split(" ");
    try {
      const value = await commands[command](...parameters);
      console.log(value === undefined || value === null ? "ok" : `ok ${value}`);
    } catch (error) {
      console.log(`error unknown ${error.message.replace(/\s+/g, " ")}`);
    }
  }
  process.exit(0);
}

main();
