"use strict";

// An unmodified socket.io-client under remote control.
// argv[2]: {version, port, namespace?, transports, upgrade?, msgpack?, onConnect?: [event, ...args]}.
// Prints what happens to it as lines of JSON; takes commands as lines of JSON on stdin:
//   {emit: [event, ...args]}                  {call: [event, ...args], tag}
//   {record: run, first, count, size}         (count emits in one go, each with an acknowledgement)
//   {stream: run, size, every}                (one such emit every so many milliseconds)
//   {mark: true}                              (reports the number of the stream's next emit)
//   {stop: true}                              (ends the stream)

const readline = require("node:readline");

const options = JSON.parse(process.argv[2]);
const { io } = require(options.version === 3 ? "socket.io-client-3" : "socket.io-client");

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function plain(args) {
  return args.map((value) => (Buffer.isBuffer(value) ? { bytes: [...value] } : value));
}

function revive(args) {
  return args.map((value) => (value && value.bytes ? Buffer.from(value.bytes) : value));
}

const socket = io(`http://127.0.0.1:${options.port}${options.namespace || "/"}`, {
  transports: options.transports,
  upgrade: options.upgrade === true,
  // A WebSocket that ends before the handshake is only given up after this time.
  timeout: 500,
  reconnectionDelay: 20,
  reconnectionDelayMax: 50,
  ...(options.msgpack ? { parser: require("socket.io-msgpack-parser") } : {}),
});

socket.on("connect", () => {
  say({ is: "connect", id: socket.id, transport: socket.io.engine.transport.name });
  if (options.onConnect) socket.emit(...options.onConnect);
});
socket.io.on("open", () => {
  socket.io.engine.on("upgrade", (transport) => say({ is: "upgrade", to: transport.name }));
  socket.io.engine.on("upgradeError", () => say({ is: "upgrade_error" }));
});
socket.on("disconnect", (reason) => say({ is: "disconnect", reason }));
socket.on("connect_error", (error) => {
  say({ is: "connect_error", message: error.message, data: error.data });
});
socket.on("tick", (n, text) => say({ is: "tick", id: socket.id, n, size: text.length }));
socket.on("question", (text, answer) => answer("because", text));
for (const name of ["echo", "bytes", "numbers", "answered"]) {
  socket.on(name, (...args) => say({ is: "event", name, args: plain(args) }));
}

function record({ record: run, first, count, size }) {
  for (let n = first; n < first + count; n += 1) {
    socket.emit("record", run, n, "x".repeat(size), (back) => say({ is: "recorded", n: back }));
  }
}

let next = 0;
let timer = null;

function stream({ stream: run, size, every }) {
  timer = setInterval(() => {
    record({ record: run, first: next, count: 1, size });
    next += 1;
  }, every);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (command.emit) socket.emit(...revive(command.emit));
  if (command.call) {
    const answer = (...args) => say({ is: "answer", tag: command.tag, args: plain(args) });
    socket.emit(...revive(command.call), answer);
  }
  if (command.record) record(command);
  if (command.stream) stream(command);
  if (command.mark) say({ is: "mark", n: next });
  if (command.stop) clearInterval(timer);
});
