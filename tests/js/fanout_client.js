"use strict";

// An unmodified socket.io-client that says all it hears.
// argv[2]: {url, transports, msgpack?}. Takes requests as lines of JSON on stdin: [event, ...args].
// Prints lines of JSON, in order: ["event", name, ...args], ["ack", number of the request, ...args],
// ["connect", id, extensions of the WebSocket], ["upgrade", transport], ["disconnect", reason],
// ["connect_error", message].

const readline = require("node:readline");

const { io } = require("socket.io-client");

const options = JSON.parse(process.argv[2]);

function say(...line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function extensions() {
  const { ws } = socket.io.engine.transport;
  return ws ? ws.extensions : "";
}

const socket = io(options.url, {
  transports: options.transports,
  reconnection: false,
  // What browsers offer by themselves.
  perMessageDeflate: { threshold: 0 },
  ...(options.msgpack
    ? { path: "/socket.io-msgpack/", parser: require("socket.io-msgpack-parser") }
    : {}),
});

socket.on("connect", () => say("connect", socket.id, extensions()));
socket.on("connect_error", (error) => say("connect_error", error.message));
socket.on("disconnect", (reason) => say("disconnect", reason));
socket.onAny((event, ...args) => say("event", event, ...args));
socket.io.on("open", () => {
  socket.io.engine.on("upgrade", (transport) => say("upgrade", transport.name));
});

let requests = 0;
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const number = requests;
  requests += 1;
  socket.emit(...JSON.parse(line), (...answer) => say("ack", number, ...answer));
});
