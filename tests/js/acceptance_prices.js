"use strict";

// An unmodified socket.io-client that keeps the prices of some symbols.
// argv: URL, then symbols. Each line on stdin is answered by one line of JSON: for each symbol all that
// came so far, as {prices: [[seq, price], ...], epochs, snapshots, wrong}, and `disconnects`.

const readline = require("node:readline");
const { io } = require("socket.io-client");

const [url, ...symbols] = process.argv.slice(2);
const seen = { disconnects: 0 };
const socket = io(url, { transports: ["websocket"] });

function keep(symbol) {
  const kept = { prices: [], epochs: [], snapshots: 0, wrong: 0 };
  seen[symbol] = kept;
  socket.on(`stock_update_${symbol}`, ({ type, payload }) => {
    kept.prices.push([payload.seq, payload.price]);
    if (!kept.epochs.includes(payload.epoch)) kept.epochs.push(payload.epoch);
    if (payload.snapshot) kept.snapshots += 1;
    if (payload.symbol !== symbol || type !== `stock_update_${symbol}`) kept.wrong += 1;
  });
}

symbols.forEach(keep);
socket.on("disconnect", () => {
  seen.disconnects += 1;
});
socket.on("connect", () => {
  socket.emit("subscribe", { events: symbols.map((symbol) => `stock_update_${symbol}`) });
});
readline.createInterface({ input: process.stdin }).on("line", () => {
  process.stdout.write(JSON.stringify(seen) + "\n");
});
