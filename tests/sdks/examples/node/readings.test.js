"use strict";

const assert = require("node:assert");
const { after, before, test } = require("node:test");
const { RecordType, ZerobusSdk } = require("@databricks/zerobus-ingest-sdk-linux-x64-gnu");
const { startZerobus } = require("./zerobus.js");

const TABLE = "main.iot.air_quality";
let zerobus;

before(async () => {
  zerobus = await startZerobus({ [TABLE]: "device STRING NOT NULL, co2 INT" });
});
after(() => zerobus.stop());

/** The program under test. */
async function writeReadings(settings, readings) {
  const sdk = new ZerobusSdk(settings.ZEROBUS_ENDPOINT, settings.DATABRICKS_HOST);
  const { DATABRICKS_CLIENT_ID: id, DATABRICKS_CLIENT_SECRET: secret } = settings;
  const stream = await sdk.createStream({ tableName: TABLE }, id, secret, { recordType: RecordType.Json });
  for (const reading of readings) await stream.ingestRecordOffset(JSON.stringify(reading));
  await stream.flush();
  await stream.close();
}

test("readings arrive", async () => {
  const readings = [
    { device: "attic", co2: 417 },
    { device: "cellar", co2: 655 },
  ];
  await writeReadings(zerobus.settings, readings);
  const rows = await zerobus.rows(TABLE);
  rows.sort((one, other) => one.device.localeCompare(other.device)); // a table has no order
  assert.deepStrictEqual(rows, readings);
});
