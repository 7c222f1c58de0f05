"use strict";

// The reference: Node's own socket.io server, one HTTP server for each profile of the suite.
// Prints one JSON line {profile: port} when all of them listen; ends when its stdin ends.

const http = require("node:http");
const { Server } = require("socket.io");
const msgpackParser = require("socket.io-msgpack-parser");

const { installHandlers } = require("./reference_handlers");

const ORDINARY = { pingInterval: 25000, pingTimeout: 20000 };

// Same names and meanings as PROFILES in tests/support/engine_target.py.
const PROFILES = {
  ordinary: { socketio: {} },
  short: { socketio: { pingInterval: 300, pingTimeout: 200 } },
  brisk: { socketio: { pingInterval: 3000, pingTimeout: 3000 } },
  deadlines: {
    socketio: { connectTimeout: 500, upgradeTimeout: 500 },
    http: { headersTimeout: 500, requestTimeout: 500, connectionsCheckingInterval: 100 },
  },
  corsList: {
    socketio: { cors: { origin: ["https://good.example"], credentials: true } },
  },
  corsAny: { socketio: { cors: { origin: "*" } } },
  msgpack: { socketio: { parser: msgpackParser } },
};

function start(profile) {
  const server = http.createServer(profile.http || {});
  const io = new Server(server, { ...ORDINARY, ...profile.socketio });
  installHandlers(io);
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

async function main() {
  const ports = {};
  for (const [name, profile] of Object.entries(PROFILES)) {
    ports[name] = await start(profile);
  }
  process.stdout.write(JSON.stringify(ports) + "\n");
}

process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
main();
