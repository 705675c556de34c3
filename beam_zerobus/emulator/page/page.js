// The emulator's page: asks the control API once a second and shows the answers. All values become text nodes.
"use strict";

const POLL_MS = 1000;
const STORE = "zerobus-control-token";
const FAULTS = {
  status: "The stream ends with the status at the call; the client should send the call again.",
  drop: "The TCP connection is cut at the call, without a status.",
  slow_ack: "The acknowledgement of the call, and those after it, are late.",
  no_ack: "The call is stored, but only a later call's acknowledgement covers it.",
  wrong_ack: "The call is not stored; calls that were never sent are acknowledged.",
  close: "The close signal at the call; the stream ends some seconds later.",
  hang: "The server no longer reads or answers on the stream.",
  reject: "A new stream ends with the status before it is ready.",
  no_answer: "A new stream is never answered.",
  wrong_answer: "A new stream is answered by an acknowledgement, which does not open it.",
  token: "The token endpoint answers with the HTTP status.",
};
const MOMENTS = { reject: "at_stream", no_answer: "at_stream", wrong_answer: "at_stream", token: "at_token" };
const NOUNS = { at_call: "call", at_stream: "stream", at_token: "request for a token" };
const USES = {
  code: ["status", "reject"], delay: ["slow_ack", "close"], http: ["token"], storing: ["status", "drop"],
};
const CODES = ["UNAVAILABLE", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED",
  "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNKNOWN"];

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
let token = "";
let chosen = "";
let paused = false;
let newestCall = 0;
let shownRows = [];

const $ = (id) => document.getElementById(id);
const enc = encodeURIComponent;

// Build an element; children that are not elements become text.
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

class UnknownToken extends Error {}

async function ask(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(15000),
  });
  if (answer.status === 401) throw new UnknownToken();
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.message || `HTTP ${answer.status}`);
  return content;
}

// ---- the token -------------------------------------------------------------------------------------------------

function readToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(STORE, given);
    history.replaceState(null, "", location.pathname);
    token = given;
  } else if (!token) {
    token = sessionStorage.getItem(STORE) || "";
  }
}

function lock(why) {
  token = "";
  sessionStorage.removeItem(STORE);
  $("why").textContent = why;
  $("locked").hidden = false;
  $("board").hidden = $("pause").hidden = true;
  setState("locked", "warn");
}

function setState(text, kind) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = `pill ${kind}`;
}

// ---- texts -----------------------------------------------------------------------------------------------------

function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(1)} s`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function bytes(size) {
  if (size === undefined) return "–";
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

function number(value) {
  return value === undefined ? "–" : value < 1e6 ? whole.format(value) : short.format(value);
}

// ---- tables of the page ----------------------------------------------------------------------------------------

// Columns are [title, cell, class]; a cell is text or an element.
function grid(columns, things, empty, rowClass = () => "") {
  if (!things.length) return el("p", { class: "empty" }, ...[].concat(empty));
  const head = el("tr", {}, ...columns.map(([title, , kind]) => el("th", { class: kind === "number" ? kind : null, scope: "col" }, title)));
  const body = things.map((thing) => el("tr", { class: rowClass(thing) || null }, ...columns.map(([, cell, kind]) => {
    const content = cell(thing);
    return el("td", { class: kind || null, title: content instanceof Node ? null : content }, content);
  })));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
}

// Replace the content and keep the place to which it was scrolled; leave it while its text is being selected.
function put(id, ...content) {
  const place = $(id);
  const selection = getSelection();
  if (selection && !selection.isCollapsed && place.contains(selection.anchorNode)) return;
  const { scrollTop, scrollLeft } = place;
  place.replaceChildren(...content);
  place.scrollTop = scrollTop;
  place.scrollLeft = scrollLeft;
}

function pill(text, kind) {
  return el("span", { class: `pill ${kind}` }, text);
}

function showTables(tables, counts) {
  const names = tables.map((table) => table.name);
  if (!names.includes(chosen)) chosen = names[0] || "";
  const tabs = tables.map(({ name }) => {
    const count = counts[name] ? counts[name].rows_acknowledged : 0;
    const tab = el("button", { type: "button", class: "tab", role: "tab", "aria-selected": String(name === chosen) },
      name, el("span", { class: "count" }, number(count)));
    tab.addEventListener("click", () => { chosen = name; shownRows = []; act(async () => {}); });
    return tab;
  });
  const focused = [...$("tables").children].indexOf(document.activeElement);
  put("tables", ...tabs);
  if (focused >= 0 && tabs[focused]) tabs[focused].focus();
  const table = tables.find(({ name }) => name === chosen);
  $("columns").textContent = table ? table.columns : "";
  $("columns").hidden = !table;
}

// Decimals and large integers are text, which reads as numbers.
function isNumeric(rows, name) {
  const values = rows.map((row) => row[name]).filter((value) => value !== null && value !== undefined);
  return values.length > 0 && values.every((value) => typeof value === "number" || /^-?\d+(\.\d+)?$/.test(value));
}

function showRows(rows) {
  const texts = rows.map((row) => JSON.stringify(row));
  const old = new Map();
  for (const text of shownRows) old.set(text, (old.get(text) || 0) + 1);
  const fresh = new Set();
  if (shownRows.length) {
    texts.forEach((text, index) => {
      const left = old.get(text) || 0;
      if (left) old.set(text, left - 1);
      else fresh.add(rows[index]);
    });
  }
  if (shownRows.length === texts.length && !fresh.size && texts.length) return;
  shownRows = texts;
  const names = [...new Set(rows.flatMap(Object.keys))];
  const columns = names.map((name) => [name, (row) => {
    const value = row[name];
    return value === null || value === undefined ? el("span", { class: "null" }, "null") : String(value);
  }, isNumeric(rows, name) ? "number" : ""]);
  const hint = chosen
    ? "No rows have become durable since the start. They appear here as they arrive."
    : "There are no tables yet. Create one with --table, with the control API, or with CREATE TABLE in SQL.";
  put("rows", grid(columns, rows, hint, (row) => (fresh.has(row) ? "new" : "")));
}

function showStreams(streams) {
  const columns = [
    ["Stream", (one) => one.stream_id.slice(0, 8), "mono"],
    ["Table", (one) => one.table],
    ["Format", (one) => one.wire_format],
    ["State", (one) => (one.end === null ? pill("open", "good") : pill(one.end, endKind(one.end)))],
    ["Rows/s", (one) => (one.end === null ? number(one.rows_a_second) : "–"), "number"],
    ["Latency", (one) => latency(one.latency), "number"],
    ["In flight", (one) => (one.end === null ? number(one.waiting) : "–"), "number"],
    ["Rows", (one) => number(one.rows), "number"],
    ["Bytes", (one) => bytes(one.bytes), "number"],
    ["Calls", (one) => number(one.calls), "number"],
    ["Acknowledged", (one) => (one.acknowledged_offset < 0 ? "–" : `to ${number(one.acknowledged_offset)}`), "number"],
  ];
  put("streams", grid(columns, streams, "No stream was opened yet."));
}

function endKind(end) {
  return end === "closed" ? "" : end === "gone" ? "warn" : "bad";
}

function showCalls(calls) {
  const columns = [
    ["Time", (call) => clockTime(call.at)],
    ["Table", (call) => call.table],
    ["Way", (call) => call.way],
    ["Offset", (call) => (call.stream_id ? number(call.offset) : "–"), "number"],
    ["Rows", (call) => number(call.rows), "number"],
    ["Bytes", (call) => bytes(call.size), "number"],
    ["Answer after", (call) => latency(call.latency), "number"],
  ];
  const last = newestCall;
  put("calls", grid(columns, calls, "No call arrived yet.", (call) => (last && call.number > last ? "new" : "")));
  if (calls.length) newestCall = calls[0].number;
}

function showEvents(events) {
  const kinds = { rejected: "bad", fault: "warn", opened: "good", ended: "" };
  const only = $("only").checked;
  const items = events.filter(({ kind }) => !only || kind === "rejected").map((event) => el("li", { class: event.kind },
    el("time", {}, clockTime(event.at)), pill(event.kind, kinds[event.kind] || ""),
    el("span", { class: "where" }, event.where), el("span", { class: "text" }, event.text)));
  put("events", ...(items.length ? items : [el("p", { class: "empty" }, only ? "Nothing was rejected." : "Nothing happened yet.")]));
}

function showTokens(tokens) {
  const columns = [
    ["Token for", (one) => one.table || (one.is_admin ? "everything (administrator)" : "the workspace's interfaces")],
    ["Issued", (one) => clockTime(one.issued_at)],
    ["Expires", (one) => clockTime(one.expires_at)],
    ["State", (one) => pill(one.state, one.state === "valid" ? "good" : "")],
  ];
  put("tokens", grid(columns, tokens, "No token was issued yet."));
}

function showFigures(activity) {
  const tables = Object.values(activity.tables);
  const sum = (name) => tables.reduce((total, table) => total + table[name], 0);
  const seconds = activity.rows_each_second;
  const last = seconds.slice(-4, -1);
  $("rate").textContent = number(Math.round(last.reduce((total, rows) => total + rows, 0) / last.length));
  $("acknowledged").textContent = number(sum("rows_acknowledged"));
  $("calls-total").textContent = number(sum("calls"));
  $("open").textContent = number(activity.streams_open);
  const rejected = activity.events.filter(({ kind }) => kind === "rejected").length;
  $("rejected").textContent = number(rejected);
  $("rejected").classList.toggle("hot", rejected > 0);
  const most = Math.max(1, ...seconds);
  const points = seconds.slice(0, -1).map((rows, index, all) => `${((index * 240) / (all.length - 1)).toFixed(1)},${(46 - (rows * 43) / most).toFixed(1)}`);
  $("spark").querySelector(".stroke").setAttribute("d", `M${points.join("L")}`);
  $("spark").querySelector(".area").setAttribute("d", `M0,48L${points.join("L")}L240,48Z`);
}

function showClock({ now, ahead }) {
  $("now").textContent = new Date(now * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  $("ahead").hidden = ahead === 0;
  $("ahead").textContent = `${duration(ahead)} ahead`;
  $("ahead").className = "pill warn";
}

function showFaults(faults, injected) {
  const items = faults.script.map((fault) => {
    const moment = MOMENTS[fault.kind] || "at_call";
    const at = fault[moment];
    const which = fault.times > 1 ? `${NOUNS[moment]}s ${at} to ${at + fault.times - 1}` : `${NOUNS[moment]} ${at}`;
    const code = USES.code.includes(fault.kind) ? ` ${fault.code}` : "";
    const seconds = USES.delay.includes(fault.kind) ? `, ${fault.delay} s` : "";
    const http = fault.kind === "token" ? ` ${fault.http_status}` : "";
    const storing = USES.storing.includes(fault.kind) && fault.after_storing ? ", after storing" : "";
    return `${fault.kind}${code}${http}${seconds}${storing}: strikes ${which}, counted since it was switched on`
      + (fault.table ? `, of ${fault.table}` : "");
  });
  if (faults.rate) items.push(`random: ${(faults.rate * 100).toFixed(0)} % of ${faults.kinds.join(", ")} (seed ${faults.seed})`);
  if (faults.ack_delay) items.push(`every acknowledgement is ${faults.ack_delay} s late`);
  if (faults.ack_interval) items.push(`${faults.ack_interval} s at least between acknowledgements`);
  for (const rule of faults.reject_rows) items.push(`rows with ${rule.column} = ${rule.value} are rejected`);
  const struck = Object.entries(injected).map(([kind, count]) => `${kind} ${count}×`);
  const list = items.map((text) => el("li", {}, text));
  if (!items.length) list.push(el("li", { class: "none" }, "No fault is switched on."));
  if (struck.length) list.push(el("li", { class: "none" }, `Injected so far: ${struck.join(", ")}`));
  put("faults", ...list);
}

// ---- once a second ---------------------------------------------------------------------------------------------

async function refresh() {
  const [activity, { tables }, faults] = await Promise.all([
    ask("GET", "control/activity"), ask("GET", "control/tables"), ask("GET", "control/faults"),
  ]);
  if ($("board").hidden) {
    $("locked").hidden = true;
    $("board").hidden = $("pause").hidden = false;
  }
  showTables(tables, activity.tables);
  const table = chosen;
  const rows = table ? (await ask("GET", `control/tables/${enc(table)}/recent`)).rows : [];
  showFigures(activity);
  if (table === chosen) showRows(rows); // another tab may be chosen meanwhile
  showStreams(activity.streams);
  showCalls(activity.calls);
  showEvents(activity.events);
  showTokens(activity.tokens);
  showClock(activity);
  showFaults(faults, activity.faults);
  $("version").textContent = `beam_zerobus ${activity.version}`;
}

async function poll() {
  if (token && !paused && !document.hidden) {
    try {
      await refresh();
      setState("live", "good");
    } catch (error) {
      if (error instanceof UnknownToken) lock("The emulator does not know this token. It is new at each start, unless --control-token sets it.");
      else setState("not reachable", "bad");
    }
  }
  setTimeout(poll, POLL_MS);
}

// ---- what the user does ----------------------------------------------------------------------------------------

let messageTimer = 0;

async function act(work) {
  try {
    await work();
    await refresh();
  } catch (error) {
    if (error instanceof UnknownToken) return lock("The emulator does not know this token.");
    $("message").textContent = error.message;
    $("message").hidden = false;
    clearTimeout(messageTimer);
    messageTimer = setTimeout(() => { $("message").hidden = true; }, 6000);
  }
  return undefined;
}

function onClick(id, work) {
  $(id).addEventListener("click", () => act(work));
}

function faultFields() {
  const kind = $("fault-kind").value;
  for (const [name, kinds] of Object.entries(USES)) $(`fault-${name}-field`).hidden = !kinds.includes(kind);
  $("fault-says").textContent = FAULTS[kind];
}

function start() {
  for (const kind of Object.keys(FAULTS)) $("fault-kind").append(el("option", { value: kind }, kind));
  for (const code of CODES) $("fault-code").append(el("option", { value: code }, code));
  $("fault-kind").addEventListener("change", faultFields);
  faultFields();
  $("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    $("token").value = "";
    sessionStorage.setItem(STORE, token);
    act(async () => {});
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").textContent = paused ? "Go on" : "Pause";
    if (paused) setState("paused", "warn");
  });
  $("only").addEventListener("change", () => act(async () => {}));
  $("fault").addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = $("fault-kind").value;
    const fault = { kind, [MOMENTS[kind] || "at_call"]: 1, times: Number($("fault-times").value) };
    if (USES.code.includes(kind)) fault.code = $("fault-code").value;
    if (USES.delay.includes(kind)) fault.delay = Number($("fault-delay").value);
    if (USES.http.includes(kind)) fault.http_status = Number($("fault-http").value);
    if (USES.storing.includes(kind)) fault.after_storing = $("fault-storing").checked;
    // Counts start again when faults are set, so that this one strikes what comes next; it replaces those that were on.
    act(() => ask("PUT", "control/faults", { script: [fault] }));
  });
  $("random").addEventListener("submit", (event) => {
    event.preventDefault();
    const seed = Math.floor(Math.random() * 1e6);
    act(() => ask("PUT", "control/faults", { rate: Number($("random-rate").value) / 100, seed }));
  });
  onClick("no-faults", () => ask("PUT", "control/faults", {}));
  onClick("rotate", () => ask("POST", "control/streams/rotate", { seconds: 5 }));
  onClick("revoke", () => ask("POST", "control/tokens/revoke"));
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => act(() => ask("POST", "control/clock", { seconds: Number(button.dataset.advance) })));
  }
  onClick("reset", async () => {
    if (confirm("End all streams, drop all tables with their rows, and revoke all tokens?")) await ask("POST", "control/reset");
  });
  addEventListener("hashchange", readToken);
  readToken();
  if (!token) lock("");
  poll();
}

start();
