"use strict";

// Any number of unmodified socket.io-clients in one process, under remote control.
// Takes commands as lines of JSON on stdin, each for the client `id`:
//   {do: "connect", id, url, version: 3|4, transports, reconnection, auth}
//   {do: "reconnect", id, auth}         (after the server has ended it)
//   {do: "emit", id, args}              {do: "ask", id, args, tag} (with an acknowledgement)
//   {do: "garbage", id, tag}            (all of acceptance_garbage.js, one after the other)
//   {do: "close", id}                   (politely)
//   {do: "cut", id}                     (the connection is destroyed without a word)
// Prints what each client sees, in order, as [id, kind, ...what]; kind is "event", "ack", "upgrade",
// "connect", "disconnect", "connect_error" or "garbage".

const readline = require("node:readline");

const { sendGarbage } = require("./acceptance_garbage");

const libraries = {
  3: require("socket.io-client-3"),
  4: require("socket.io-client"),
};
const sockets = new Map();

function say(...line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function connect({ id, url, version, transports, reconnection, auth }) {
  const socket = libraries[version].io(url, {
    auth,
    transports,
    reconnection,
    forceNew: true,
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
  });
  sockets.set(id, socket);
  socket.on("connect", () => say(id, "connect", socket.id, socket.io.engine.transport.name));
  socket.on("disconnect", (reason) => say(id, "disconnect", reason));
  socket.on("connect_error", (error) => say(id, "connect_error", error.message, error.data));
  socket.onAny((event, ...args) => say(id, "event", event, ...args));
  socket.io.on("open", () => {
    socket.io.engine.on("upgrade", (transport) => say(id, "upgrade", transport.name));
  });
}

// What a network that fails does: neither a close frame nor an answer, just a socket that is gone.
function cut(socket) {
  socket.io.reconnection(false);
  const transport = socket.io.engine.transport;
  if (transport.name === "websocket") transport.ws._socket.destroy();
  else if (transport.pollXhr || transport._pollXhr) (transport.pollXhr || transport._pollXhr).abort();
}

const commands = {
  connect,
  reconnect: ({ id, auth }) => {
    sockets.get(id).auth = auth;
    sockets.get(id).connect();
  },
  emit: ({ id, args }) => sockets.get(id).emit(...args),
  ask: ({ id, args, tag }) => {
    sockets.get(id).emit(...args, (...answer) => say(id, "ack", tag, ...answer));
  },
  garbage: ({ id, tag }) => {
    sendGarbage(sockets.get(id)).then((answers) => say(id, "garbage", tag, answers));
  },
  close: ({ id }) => sockets.get(id).close(),
  cut: ({ id }) => cut(sockets.get(id)),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
