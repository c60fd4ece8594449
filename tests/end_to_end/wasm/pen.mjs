// A pen's whole firmware in MicroPython for WebAssembly, through a session, with a real broker.
//
//     node pen.mjs MICROPYTHON.mjs FLASH_DIR HOST PORT HEAP_BYTES MINUTES
//
// Time is simulated: clock and timers are this script's, and go as fast as the machine can, but no more
// than SPEED times real time, for the broker and the gateway answer in real time. While the broker owes an
// answer the pen's clock stands still, for PATIENCE_MS at most: a busy machine is no slow network, and a
// slow network costs a second connection's heap. MicroPython for
// WebAssembly collects garbage only between two calls from here; so each second of the pen's time there
// is a collection, and a look at what is left. The heap may grow: what is looked at is how far it is used.
// Prints one JSON object: see `report`.

import fs from "node:fs";
import net from "node:net";
import path from "node:path";

const [, , build, flash, host, port, heapBytes, minutes] = process.argv;
const SPEED = 60;
const PATIENCE_MS = 100; // of real time
const STEP_MS = 10;
const PERIOD_MS = 20;
const IDLE_S = 60; // before the session
const SESSION_S = Number(minutes) * 60;
const OUTAGE_S = [IDLE_S + SESSION_S / 3, IDLE_S + SESSION_S / 3 + Math.min(300, SESSION_S / 6)];
const STROKES_A_PERIOD = 2; // 100 strokes/s
const CHANNELS = 8;
const { board } = JSON.parse(fs.readFileSync(path.join(flash, "build.json"), "utf8"));
const BUTTON = { esp32_s3: 16, esp32_c3: 9, pico_w: 17, pico_2_w: 17 }[board]; // its pin
const MORE = { esp32_c3: "wasm_esp32_c3", pico_w: "wasm_rp2", pico_2_w: "wasm_rp2" }[board];

// ---- time ----

const realNow = Date.now.bind(Date);
const begunMs = realNow();
let nowMs = 0;
let timers = [];
let timerNumber = 0;
Date.now = () => begunMs + nowMs;
performance.now = () => nowMs;
globalThis.setTimeout = (callback, delay = 0) => {
  timers.push({ at: nowMs + Math.max(delay, 0), number: ++timerNumber, callback });
  return timerNumber;
};
globalThis.clearTimeout = (number) => {
  timers = timers.filter((one) => one.number !== number);
};

function runTimers() {
  for (;;) {
    const due = timers.filter((one) => one.at <= nowMs).sort((a, b) => a.at - b.at || a.number - b.number)[0];
    if (due === undefined) return;
    timers = timers.filter((one) => one !== due);
    due.callback();
  }
}

// ---- the network ----

const channels = Array.from({ length: CHANNELS }, () => ({
  ...{ state: "gone", inbound: [], outbound: [] },
  askedMs: Infinity, // real time at which bytes went out that the broker has not answered yet
}));
let last = 0;
let isOutage = false;

globalThis.pen = {
  open() {
    last = (last + 1) % CHANNELS;
    const channel = channels[last];
    Object.assign(channel, { state: "opening", inbound: [], outbound: [], askedMs: Infinity });
    if (isOutage) {
      channel.state = "gone";
      return last;
    }
    const socket = net.connect({ host, port: Number(port), noDelay: true });
    channel.socket = socket;
    socket.on("connect", () => (channel.state = "open"));
    socket.on("data", (data) => {
      if (channel.socket !== socket) return;
      channel.inbound.push(...data);
      channel.askedMs = Infinity;
    });
    socket.on("error", () => channel.socket === socket && (channel.state = "gone"));
    socket.on("close", () => channel.socket === socket && (channel.state = "gone"));
    return last;
  },
  close(number) {
    channels[number].socket?.destroy();
    channels[number].state = "gone";
  },
  is_settled: (number) => channels[number].state !== "opening",
  is_gone: (number) => channels[number].state === "gone" && channels[number].inbound.length === 0,
};

function flush() {
  for (const channel of channels) {
    if (channel.outbound.length && channel.state === "open") {
      const bytes = Buffer.from(channel.outbound.splice(0));
      const isPuback = bytes.length === 4 && bytes[0] === 0x40; // it has no answer
      channel.askedMs = isPuback ? Infinity : realNow();
      channel.socket.write(bytes);
    }
  }
}

function isOwed() {
  const sinceMs = realNow() - PATIENCE_MS;
  return channels.some((channel) => channel.state === "open" && channel.askedMs !== Infinity && channel.askedMs > sinceMs);
}

function cut() {
  for (const channel of channels) {
    channel.socket?.destroy();
    Object.assign(channel, { state: "gone", inbound: [] });
  }
}

// ---- MicroPython ----

const { loadMicroPython } = await import(path.resolve(build));
const events = [];
const said = [];
let isOver = false;
function fail(error) {
  fs.writeSync(2, [...said, String(error)].join("\n") + "\n"); // not the line of the build that threw
  process.exit(1);
}
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
const mp = await loadMicroPython({
  heapsize: Number(heapBytes),
  pystack: 4096,
  linebuffer: true,
  stdout: (line) => {
    if (!line.startsWith("{")) return said.push(line);
    const event = JSON.parse(line);
    events.push(event);
    if (event.event === "done" || event.event === "undelivered") isOver = true;
  },
  stderr: (line) => said.push(line),
});
const FS = mp._module.FS;
channels.forEach((channel, number) =>
  FS.createDevice(
    "/dev",
    `net${number}`,
    () => (channel.inbound.length ? channel.inbound.shift() : null),
    (byte) => channel.outbound.push(byte & 255),
  ),
);

function put(from, to) {
  FS.mkdirTree(to);
  for (const name of fs.readdirSync(from)) {
    const [source, target] = [path.join(from, name), `${to}/${name}`];
    if (fs.statSync(source).isDirectory()) put(source, target);
    else FS.writeFile(target, fs.readFileSync(source));
  }
}

put(flash, "");
const standIns = ["wasm_board", ...(MORE ? [MORE] : [])];
for (const name of standIns) {
  FS.writeFile(`/${name}.py`, fs.readFileSync(path.join(import.meta.dirname, `${name}.py`)));
}
mp.runPython("import sys, gc, micropython\nsys.path.insert(0, '/')");
const gc = mp.pyimport("gc");

function used() {
  gc.collect(); // takes place when the call has returned
  return gc.mem_alloc();
}

function layout() {
  said.length = 0;
  mp.runPython("micropython.mem_info()");
  const text = said.splice(0).join("\n");
  return {
    total: Number(/total: (\d+)/.exec(text)[1]),
    largest_free: 16 * Number(/max free sz: (\d+)/.exec(text)[1]),
  };
}

const bare = used();
mp.runPython("import asyncio, binascii, hashlib, io, json, os, random, struct, time, array");
const asyncioBytes = used() - bare;
mp.runPython(`import wasm_board\nwasm_board.install(${BUTTON})`);
if (MORE) mp.runPython(`import ${MORE}\n${MORE}.install()`);
const tick = mp.pyimport("wasm_board").tick;
const standInBytes = used() - bare - asyncioBytes;

mp.runPython("sys.path[0] = ''");
try {
  mp.runPython(fs.readFileSync(path.join(flash, "main.py"), "utf8"));
} catch (error) {
  if (!String(error).includes("SystemExit")) throw error;
}
const report = {
  board,
  bare_bytes: bare,
  asyncio_bytes: asyncioBytes,
  stand_in_bytes: standInBytes,
  started_bytes: used() - standInBytes, // every module is loaded, everything is built
  peak_bytes: 0, // the most that was in use after a collection, without the stand-ins
  peak_s: 0,
  opened_bytes: 0, // the same, some seconds after the session has begun
  first_minute_bytes: Infinity, // the least in the session's first minute, and in its last
  last_minute_bytes: Infinity,
  readings: 0,
  events,
};

// ---- a treatment ----

function isContact(s) {
  return s >= IDLE_S && s < IDLE_S + SESSION_S && s % 60 < 55;
}

function angle(period, s) {
  const isDeep = s % 300 >= 290 && s % 300 < 291;
  return (isDeep ? 3000 : 700) + ((period * 7919) % 5);
}

let strokes = 0;
let overAtMs = Infinity;
for (let period = 0; !isOver; period++) {
  const s = (period * PERIOD_MS) / 1000;
  const isWork = s >= IDLE_S && s < IDLE_S + SESSION_S;
  if (isWork) {
    strokes += STROKES_A_PERIOD;
    report.readings++;
  }
  const isNight = s >= OUTAGE_S[0] && s < OUTAGE_S[1];
  if (isNight && !isOutage) cut();
  isOutage = isNight;
  const isPressed = s >= IDLE_S + SESSION_S + 10;
  tick(angle(period, s), strokes & 0xffff, isContact(s) ? 3000 << 4 : 1000 << 4, isWork, isPressed);
  for (let step = 0; step < PERIOD_MS; step += STEP_MS) {
    nowMs += STEP_MS;
    runTimers();
    flush();
    await new Promise(setImmediate);
    while (isOwed() || nowMs > (realNow() - begunMs) * SPEED) await new Promise(setImmediate);
  }
  if (period % 50 === 49) {
    const bytes = used() - standInBytes;
    if (s > IDLE_S + 10 && !report.opened_bytes) report.opened_bytes = bytes;
    const ran = s - IDLE_S;
    if (ran > 10 && ran <= 60) report.first_minute_bytes = Math.min(report.first_minute_bytes, bytes);
    if (ran <= SESSION_S && ran > SESSION_S - 60) {
      report.last_minute_bytes = Math.min(report.last_minute_bytes, bytes);
    }
    if (bytes > report.peak_bytes) {
      report.peak_bytes = bytes;
      report.peak_s = s;
    }
  }
  if (s > IDLE_S + SESSION_S + 600) throw new Error("the pen did not end: " + said.join("\n"));
}
said.length = 0;
mp.runPython("print(' '.join(sys.modules))");
const modules = said.splice(0).join(" ").split(" ");
used();
Object.assign(report, layout(), { modules, end_bytes: used() - standInBytes, pen_s: nowMs / 1000, said });
console.log(JSON.stringify(report));
process.exit(0);
