"use strict";

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { createInterface } = require("node:readline");

/** Starts an emulator with tables, given as {name: columns}; resolves once it serves. */
async function startZerobus(tables) {
  const options = Object.entries(tables).flatMap(([name, columns]) => ["--table", `${name}=${columns}`]);
  const command = ["emulator", "--until-stdin-closes", ...options];
  const child = spawn("beam-zerobus", command, { stdio: ["pipe", "pipe", "inherit"] });
  await once(child, "spawn"); // rejects if the program is not on the PATH
  const settings = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const [, name, value] = line.match(/^export (\w+)=(.*)$/) ?? [];
    if (name) settings[name] = value;
    if (line.startsWith("Stop with")) return new Zerobus(child, settings);
  }
  throw new Error("the emulator did not start; its reason is above");
}

class Zerobus {
  constructor(child, settings) {
    this.child = child;
    this.settings = settings; // ZEROBUS_ENDPOINT, DATABRICKS_HOST, DATABRICKS_CLIENT_ID, ...
  }

  /** Resolves to the rows of a table. */
  async rows(table) {
    const answer = await fetch(`${this.settings.DATABRICKS_HOST}/control/tables/${table}/rows`, {
      headers: { authorization: `Bearer ${this.settings.ZEROBUS_CONTROL_TOKEN}` },
    });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).rows;
  }

  async stop() {
    const exited = once(this.child, "exit");
    this.child.stdin.end();
    await exited;
  }
}

module.exports = { startZerobus };
