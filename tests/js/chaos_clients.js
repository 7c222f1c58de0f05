"use strict";

// Unmodified socket.io-clients with their default settings, that watch symbols through a balancer.
// argv[2]: {url, symbols, count}. Of each four clients two use WebSocket alone, one begins with polling
// and one stays with it. Prints lines of JSON, times in ms since the epoch:
//   ["update", client, symbol, epoch, seq, price, snapshot, at]
//   ["connect", client, recovered, at]   ["disconnect", client, reason, at]
// Ends when its stdin does.

const { io } = require("socket.io-client");

const { url, symbols, count } = JSON.parse(process.argv[2]);
const WAYS = [["websocket"], ["websocket"], ["polling", "websocket"], ["polling"]];

function say(...line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

for (let client = 0; client < count; client++) {
  const socket = io(url, { transports: WAYS[client % WAYS.length], forceNew: true });
  socket.on("connect", () => {
    say("connect", client, socket.recovered, Date.now());
    if (!socket.recovered) {
      socket.emit("subscribe", { events: symbols.map((symbol) => `stock_update_${symbol}`) });
    }
  });
  socket.on("disconnect", (reason) => say("disconnect", client, reason, Date.now()));
  for (const symbol of symbols) {
    socket.on(`stock_update_${symbol}`, ({ payload }) => {
      const { epoch, seq, price, snapshot } = payload;
      say("update", client, symbol, epoch, seq, price, snapshot === true, Date.now());
    });
  }
}

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
