"use strict";

// The events that the cases use; tests/support/engine_target.py registers the same ones.

// Lifecycle calls by Socket.IO id, so that one connection can ask what happened to another.
const lifecycles = new Map();
// Numbers received by `record`, by run, in order of arrival.
const records = new Map();

function append(map, key, value) {
  if (!map.has(key)) map.set(key, []);
  map.get(key).push(value);
}

function installEcho(socket) {
  socket.on("echo", (...args) => socket.emit("echo", ...args));
  socket.on("echoAck", (...args) => args.pop()(...args));
  socket.on("noReturn", (...args) => {
    const last = args.pop();
    if (typeof last === "function") last();
  });
  socket.on("handshake", (ack) => {
    const { query, auth, headers } = socket.handshake;
    ack({ query, auth, extra: headers["x-extra"] });
  });
  socket.on("whoAmI", (ack) => ack(socket.id, socket.handshake.auth, socket.conn.transport.name));
}

function installEmitters(socket) {
  socket.on("burst", (count, size) => {
    for (let n = 0; n < count; n += 1) socket.emit("tick", n, "x".repeat(size));
  });
  socket.on("binaryOut", () => socket.emit("bytes", Buffer.from([1, 2, 3, 4])));
  socket.on("emitNan", () => socket.emit("numbers", [NaN, Infinity]));
  socket.on("askMe", () => {
    socket.emit("question", "why", (...answer) => socket.emit("answered", ...answer));
  });
}

function installJournal(socket) {
  socket.on("lifecycle", (sid, ack) => ack(lifecycles.get(sid) || []));
  socket.on("record", (run, n, _padding, ack) => {
    append(records, run, n);
    ack(n);
  });
  socket.on("recorded", (run, ack) => ack(records.get(run) || []));
}

function installLeaving(socket) {
  socket.on("leave", () => socket.disconnect());
  socket.on("leaveAll", () => socket.disconnect(true));
}

function onConnection(socket) {
  append(lifecycles, socket.id, "connect");
  if (socket.handshake.auth.greet) socket.emit("greeting", socket.handshake.auth.greet);
  socket.on("disconnect", () => append(lifecycles, socket.id, "disconnect"));
  installEcho(socket);
  installEmitters(socket);
  installJournal(socket);
  installLeaving(socket);
}

function installHandlers(io) {
  for (const name of ["/", "/custom"]) io.of(name).on("connection", onConnection);
  io.of("/refused").use((_socket, next) => {
    const error = new Error("Not authorized");
    error.data = { reason: "closed" };
    next(error);
  });
}

module.exports = { installHandlers };
