"use strict";

// Any number of unmodified socket.io-clients in one process that lose their connection on command.
// Takes commands as lines of JSON on stdin, each for the client `id`:
//   {do: "connect", id, url, version: 3|4, transports, upgrade, msgpack}
//   {do: "ask", id, args, tag} (with an acknowledgement)
//   {do: "close", id}     (the engine's connection, politely: the client comes back by itself)
//   {do: "cut", id}       (the WebSocket's TCP connection, without a word)
//   {do: "goodbye", id}   (the client leaves for good)
//   {do: "hello", id}     (and connects again after all)
// Prints what each client sees, in order, as [id, kind, ...what]; kind is "event", "ack", "upgrade",
// "upgrade_error", "connect" (session id, recovered), "disconnect" or "connect_error".

const readline = require("node:readline");

const libraries = {
  3: require("socket.io-client-3"),
  4: require("socket.io-client"),
};
const sockets = new Map();

function say(...line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

const MSGPACK = { path: "/socket.io-msgpack/", parser: require("socket.io-msgpack-parser") };

function connect({ id, url, version, transports, upgrade, msgpack }) {
  const socket = libraries[version].io(url, {
    transports,
    upgrade,
    forceNew: true,
    // A handshake that hangs on a broken connection is given up after this time.
    timeout: 1000,
    reconnectionDelay: 10,
    reconnectionDelayMax: 20,
    ...(msgpack ? MSGPACK : {}),
  });
  sockets.set(id, socket);
  socket.on("connect", () => say(id, "connect", socket.id, socket.recovered === true));
  socket.on("disconnect", (reason) => say(id, "disconnect", reason));
  socket.on("connect_error", (error) => say(id, "connect_error", error.message));
  socket.onAny((event, ...args) => say(id, "event", event, ...args));
  socket.io.on("open", () => {
    socket.io.engine.on("upgrade", (transport) => say(id, "upgrade", transport.name));
    socket.io.engine.on("upgradeError", () => say(id, "upgrade_error"));
  });
}

const commands = {
  connect,
  ask: ({ id, args, tag }) => {
    sockets.get(id).emit(...args, (...answer) => say(id, "ack", tag, ...answer));
  },
  close: ({ id }) => sockets.get(id).io.engine.close(),
  cut: ({ id }) => sockets.get(id).io.engine.transport.ws._socket.destroy(),
  goodbye: ({ id }) => sockets.get(id).disconnect(),
  hello: ({ id }) => sockets.get(id).connect(),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
