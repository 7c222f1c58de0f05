"use strict";

// What a broken or hostile client may send: none of it is what the server asked for.

// Milliseconds that an acknowledgement may take; generous, for machines under load.
const PATIENCE = 15000;

function nested(depth, make) {
  let value = "x";
  for (let level = 0; level < depth; level += 1) value = make(value);
  return value;
}

const big = "A".repeat(990 * 1000);
const deepList = nested(500, (inner) => [inner]);
const deepObject = nested(500, (inner) => ({ events: inner }));
const bytes = Buffer.from([0, 255, 128, 1]);
const polluting = JSON.parse('{"__proto__": {"events": ["stock_update_AAPL"]}, "constructor": {}}');

// Wrong as a payload of any event.
const payloads = {
  null: null,
  true: true,
  zero: 0,
  negative: -1,
  fraction: 1.5,
  huge: 1e308,
  notANumber: NaN,
  infinity: Infinity,
  emptyText: "",
  text: "stock_update_AAPL",
  emoji: "🦄💥",
  bigText: big,
  emptyList: [],
  list: ["stock_update_AAPL"],
  hugeList: new Array(45000).fill("stock_update_AAPL"),
  deepList,
  emptyObject: {},
  deepObject,
  polluting,
  bytes,
  emptyBytes: Buffer.alloc(0),
};

// Wrong in a field of an otherwise right payload.
const names = [null, 1, "", [], {}, deepList, deepObject, bytes, big, "🦄", true, NaN, polluting];

function subscribing(event) {
  const whole = names.map((name) => [event, { events: name }]);
  const single = [...names, "stock_update_", "stock_update_🦄", "stock_update_A B", "__proto__",
    "constructor", "toString", "stock_update_../../etc", "stock_update_\u0000", "connect",
    "bar_update_AAPL", "bar_update_AAPL_2m", "*", "stock_update_*"]
    .map((name) => [event, { events: [name] }]);
  return [...whole, ...single, [event, { events: new Array(1001).fill("stock_update_AAPL") }]];
}

const options = [
  ["subscribe", { events: ["stock_update_AAPL"], maxRate: 0 }],
  ["subscribe", { events: ["stock_update_AAPL"], maxRate: -1 }],
  ["subscribe", { events: ["stock_update_AAPL"], maxRate: "fast" }],
  ["subscribe", { events: ["stock_update_AAPL"], maxRate: 1e300 }],
  ["subscribe", { events: ["stock_update_AAPL"], since: [] }],
  ["subscribe", { events: ["stock_update_AAPL"], since: { stock_update_AAPL: null } }],
  ["subscribe", { events: ["stock_update_AAPL"], since: { stock_update_AAPL: { epoch: 1 } } }],
  ["subscribe", { events: ["stock_update_AAPL"], since: { nonsense: { epoch: "x", seq: 1 } } }],
  ["subscribe", { events: ["stock_update_AAPL"], since: { stock_update_AAPL: { epoch: "x", seq: 1.5 } } }],
];

const stockData = [
  ...names.map((symbol) => ["get_stock_data", { symbol }]),
  ...names.map((timeframe) => ["get_stock_data", { symbol: "AAPL", timeframe }]),
  ...["", 0, -1, 1001, 1.5, 1e300, "100", null, [], deepObject, bytes]
    .map((limit) => ["get_stock_data", { symbol: "AAPL", limit }]),
];

const unknown = ["nonsense", "__proto__", "constructor", "hasOwnProperty", "🦄", "", " ",
  "stock_update_AAPL", "connected", "subscribed", "*", "ping", "message", "a".repeat(100000)]
  .flatMap((event) => [[event], [event, {}], [event, deepObject], [event, bytes, bytes]]);

const messages = [
  ...["subscribe", "unsubscribe", "get_stock_data"].flatMap((event) => [
    [event],
    ...Object.values(payloads).map((payload) => [event, payload]),
  ]),
  ...subscribing("subscribe"),
  ...subscribing("unsubscribe"),
  ...options,
  ...stockData,
  ...unknown,
];

function describe(message) {
  const text = JSON.stringify(message);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

// Resolves with the acknowledgement, or with why there is none.
function ask(socket, message) {
  return new Promise((resolve) => {
    const end = (answer) => {
      clearTimeout(timer);
      socket.off("disconnect", lost);
      resolve(answer);
    };
    const lost = () => end("disconnected");
    const timer = setTimeout(() => end("no answer"), PATIENCE);
    socket.on("disconnect", lost);
    socket.emit(...message, end);
  });
}

// Resolves with [what was sent, the answer] of each, up to the first that has no answer.
async function sendGarbage(socket) {
  const answers = [];
  for (const message of messages) {
    const answer = await ask(socket, message);
    answers.push([describe(message), answer]);
    if (typeof answer === "string") break;
  }
  return answers;
}

module.exports = { sendGarbage };
