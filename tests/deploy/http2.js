"use strict";

// Opens a polling session over HTTP/2 at the URL argv[2], as a browser does, and then, where the
// server offers it, a WebSocket on the same connection (RFC 8441). Prints each answer as JSON.

const http2 = require("node:http2");

const session = http2.connect(process.argv[2], { rejectUnauthorized: false });

// Calls back with the status and the beginning of the body, which may not end.
function request(headers, answered) {
  const stream = session.request(headers);
  let status;
  stream.on("response", (head) => (status = head[":status"]));
  stream.once("data", (data) => answered({ status, body: data.toString() }));
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

session.on("remoteSettings", ({ enableConnectProtocol: webSocketsOffered }) => {
  request({ ":path": "/socket.io/?EIO=4&transport=polling" }, (answer) => {
    say({ ...answer, webSocketsOffered });
    if (!webSocketsOffered) return;
    const path = "/socket.io/?EIO=4&transport=websocket";
    const upgrade = { ":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13" };
    request({ ...upgrade, ":path": path }, say);
  });
});
