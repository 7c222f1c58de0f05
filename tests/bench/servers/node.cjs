// The peer: Node's socket.io as its documentation shows it, WebSocket compression off by default.
"use strict";
const http = require("node:http");
const net = require("node:net");
const readline = require("node:readline");
const { Server } = require("socket.io");
const { version } = require("socket.io/package.json");

const prefix = "stock_update_";
const server = http.createServer();
const io = new Server(server, { pingInterval: 25000, pingTimeout: 60000 });

io.on("connection", (socket) => {
  socket.emit("connected", { clientId: socket.id, serverTime: Date.now(), availableEvents: [] });
  socket.on("subscribe", ({ events }) => {
    for (const event of events) socket.join(event);
    socket.emit("subscribed", { events });
  });
});

const published = new Map();

function nextUpdate(index) {
  const symbol = "S" + String(index).padStart(5, "0");
  const seq = (published.get(index) ?? 0) + 1;
  published.set(index, seq);
  return {
    symbol,
    price: 100 + (seq % 1000) / 100,
    change: 1.25,
    changePercent: 1.26,
    volume: 1234567,
    timestamp: Date.now(),
    seq,
    epoch: "bench",
    bid: 99.99,
    ask: 100.01,
    dayHigh: 112.5,
    dayLow: 98.75,
    open: 99.5,
    previousClose: 98.75,
  };
}

function publish(first, count) {
  for (let index = first; index < first + count; index++) {
    const payload = nextUpdate(index);
    const type = prefix + payload.symbol;
    io.to(type).emit(type, { type, payload, timestamp: Date.now() });
  }
}

const control = net.createServer((socket) => {
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  readline.createInterface({ input: socket }).on("line", (line) => {
    if (line === "collect") {
      global.gc();
      socket.write("ok\n");
    } else {
      publish(...line.split(" ").map(Number));
    }
  });
});

server.listen(0, "127.0.0.1", 4096, () => {
  control.listen(0, "127.0.0.1", () => {
    const ports = { port: server.address().port, control: control.address().port, version };
    console.log(JSON.stringify(ports));
  });
});
