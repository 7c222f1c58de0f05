"use strict";

// What applications do with an unmodified socket.io-client 4.x, and what must come of it.
// argv[2]: {port, transports, upgrade}. Runs all cases side by side; prints {name: null or why not}.

const assert = require("node:assert/strict");
const net = require("node:net");
const { io, Manager } = require("socket.io-client");

const { port, transports, upgrade } = JSON.parse(process.argv[2]);
const url = `http://127.0.0.1:${port}`;
const LIMIT_MS = 20_000;

// A server that takes connections and says nothing, and the address of one that is gone.
const silent = net.createServer(() => {});
let nobody;

class Bench {
  sockets = [];

  options(more) {
    const quick = { reconnectionDelay: 20, reconnectionDelayMax: 50 };
    return { transports, upgrade, forceNew: true, ...quick, ...more };
  }

  open(more = {}, path = "/") {
    return this.keep(io(url + path, this.options(more)));
  }

  manager(more = {}) {
    return new Manager(url, this.options(more));
  }

  keep(socket) {
    this.sockets.push(socket);
    return socket;
  }

  close() {
    for (const socket of this.sockets) socket.disconnect();
  }
}

function once(emitter, event) {
  return new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
}

// Every answer that is still on its way arrives before this one does.
async function settled(socket) {
  assert.deepEqual(await socket.emitWithAck("echoAck", "settled"), "settled");
}

const cases = {
  async idOfTheClientIsTheOneThatTheServerHas(bench) {
    for (const path of ["/", "/custom"]) {
      const socket = bench.open({}, path);
      await once(socket, "connect");
      const [id] = await new Promise((resolve) => socket.emit("whoAmI", (...a) => resolve(a)));
      assert.equal(socket.id, id);
      assert.notEqual(socket.id, socket.io.engine.id);
    }
  },

  async idIsGoneWithTheConnection(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    socket.disconnect();
    assert.equal(socket.id, undefined);
    assert.equal(socket.connected, false);
  },

  async clientThatIsNotToConnectDoesNot(bench) {
    const socket = bench.open({ autoConnect: false });
    assert.equal(socket.io.engine, undefined);
    socket.connect();
    await once(socket, "connect");
  },

  async clientMayGiveUpWhileItOpens(bench) {
    const socket = bench.open();
    const wrong = [];
    socket.on("connect", () => wrong.push("connect"));
    socket.on("connect_error", (error) => wrong.push(error.message));
    socket.disconnect();
    await settled(bench.open());
    assert.deepEqual(wrong, []);
  },

  async nobodyListeningIsAConnectError(bench) {
    const socket = bench.keep(io(nobody, bench.options({ reconnection: false })));
    const [error] = await once(socket, "connect_error");
    assert.ok(error instanceof Error);
    assert.equal(socket.connected, false);
  },

  async noAnswerInTimeIsAConnectError(bench) {
    const address = `http://127.0.0.1:${silent.address().port}`;
    const socket = bench.keep(io(address, bench.options({ timeout: 50 })));
    const [error] = await once(socket, "connect_error");
    assert.equal(error.message, "timeout");
    assert.equal(socket.active, true);
  },

  async attemptsAreCountedAndEnd(bench) {
    const manager = new Manager(nobody, bench.options({ reconnectionAttempts: 3 }));
    const attempts = [];
    manager.on("reconnect_attempt", (number) => attempts.push(number));
    bench.keep(manager.socket("/"));
    await once(manager, "reconnect_failed");
    assert.deepEqual(attempts, [1, 2, 3]);
  },

  async brokenConnectionIsMadeAnewUnderAnotherId(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    const before = socket.id;
    const errors = [];
    socket.on("connect_error", (error) => errors.push(error.message));
    const back = once(socket.io, "reconnect");
    socket.io.engine.close();
    const [attempts] = await back;
    assert.ok(attempts >= 1);
    if (!socket.connected) await once(socket, "connect");
    assert.notEqual(socket.id, before);
    assert.deepEqual(errors, []);
    // Over long-polling the server hears of it by the goodbye, which takes its own way.
    let seen = [];
    while (seen.length < 2) seen = await socket.emitWithAck("lifecycle", before);
    assert.deepEqual(seen, ["connect", "disconnect"]);
  },

  async clientThatLeftComesBackWhenAskedTo(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    const reasons = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    const before = socket.id;
    socket.disconnect().connect();
    await once(socket, "connect");
    assert.notEqual(socket.id, before);
    assert.deepEqual(reasons, ["io client disconnect"]);
    const back = once(socket.io, "reconnect");
    socket.io.engine.close();
    await back;
  },

  async clientThatWasSentAwayComesBackWhenAskedTo(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    socket.emit("leave");
    const [reason] = await once(socket, "disconnect");
    assert.equal(reason, "io server disconnect");
    assert.equal(socket.active, false);
    socket.connect();
    await once(socket, "connect");
    await settled(socket);
  },

  async refusedNamespaceSaysWhyAndIsNotTriedAgain(bench) {
    const socket = bench.open({}, "/refused");
    const errors = [];
    socket.on("connect_error", (error) => errors.push([error.message, error.data]));
    await once(socket, "connect_error");
    assert.equal(socket.active, false);
    socket.io.engine.close();
    await settled(bench.open());
    assert.deepEqual(errors, [["Not authorized", { reason: "closed" }]]);
  },

  async namespacesShareAConnectionAndEndAlone(bench) {
    const manager = bench.manager();
    const main = bench.keep(manager.socket("/"));
    await once(main, "connect");
    const custom = bench.keep(manager.socket("/custom"));
    await once(custom, "connect");
    assert.notEqual(main.id, custom.id);
    let wrong = 0;
    custom.on("disconnect", () => (wrong += 1));
    main.disconnect();
    await settled(custom);
    assert.equal(wrong, 0);
    const closed = once(manager, "close");
    custom.disconnect();
    await closed;
    const again = bench.keep(manager.socket("/"));
    again.connect();
    await settled(again);
  },

  async oneNamespaceStaysAwayWhileTheOtherComesBack(bench) {
    const manager = bench.manager();
    const main = bench.keep(manager.socket("/"));
    const custom = bench.keep(manager.socket("/custom"));
    await Promise.all([once(main, "connect"), once(custom, "connect")]);
    manager.once("reconnect_attempt", () => main.disconnect());
    const back = once(custom, "connect");
    manager.engine.close();
    await back;
    await settled(custom);
    assert.equal(main.connected, false);
  },

  async sameAddressTwiceIsTwoConnections(bench) {
    const options = bench.options({ forceNew: false });
    const [one, two] = [bench.keep(io(url, options)), bench.keep(io(url, options))];
    await Promise.all([settled(one), settled(two)]);
    assert.notEqual(one.io, two.io);
    assert.notEqual(one.id, two.id);
  },

  async queryReachesTheServerAsItWas(bench) {
    const query = { "&a": "&=?#a b+한글", empty: "" };
    for (const path of ["/", "/custom"]) {
      const given = await bench.open({ query }, path).emitWithAck("handshake");
      for (const name of Object.keys(query)) assert.equal(given.query[name], query[name]);
    }
    const given = await bench.open({}, "/custom?b=c&d=e").emitWithAck("handshake");
    assert.deepEqual([given.query.b, given.query.d], ["c", "e"]);
  },

  async headersOfItsOwnReachTheServer(bench) {
    const given = await bench.open({ extraHeaders: { "X-Extra": "a, b" } }).emitWithAck("handshake");
    assert.equal(given.extra, "a, b");
  },

  async stampedRequestsAreServed(bench) {
    const options = { timestampRequests: true, timestampParam: "when" };
    const given = await bench.open(options).emitWithAck("handshake");
    assert.ok(given.query.when);
  },

  async authIsAnObjectOrAskedForEachTime(bench) {
    const fixed = bench.open({ auth: { a: "b", c: [1] } });
    assert.deepEqual((await fixed.emitWithAck("handshake")).auth, { a: "b", c: [1] });
    let times = 0;
    const asked = bench.open({ auth: (give) => give({ times: ++times }) });
    assert.deepEqual((await asked.emitWithAck("handshake")).auth, { times: 1 });
    asked.io.engine.close();
    await once(asked, "connect");
    assert.deepEqual((await asked.emitWithAck("handshake")).auth, { times: 2 });
  },

  async whatIsSentBeforeTheConnectionLeavesInOrder(bench) {
    const socket = bench.open({ autoConnect: false });
    const answers = [];
    const ask = (n) => new Promise((resolve) => {
      socket.emit("echoAck", n, (back) => resolve(answers.push(back)));
    });
    const early = [ask(1), ask(2)];
    const late = once(socket, "connect").then(() => ask(3));
    socket.connect();
    await Promise.all([...early, late]);
    assert.deepEqual(answers, [1, 2, 3]);
  },

  async acknowledgementIsWaitedForSoLong(bench) {
    const socket = bench.open();
    assert.equal(await socket.timeout(LIMIT_MS).emitWithAck("echoAck", 42), 42);
    await assert.rejects(socket.timeout(50).emitWithAck("nobodyListens"), /timed out/);
    const [error, value] = await new Promise((resolve) => {
      socket.timeout(LIMIT_MS).emit("echoAck", 43, (...args) => resolve(args));
    });
    assert.deepEqual([error, value], [null, 43]);
  },

  async acknowledgementLostWithTheConnectionIsAnError(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    const lost = socket.timeout(LIMIT_MS).emitWithAck("nobodyListens");
    socket.disconnect();
    await assert.rejects(lost, /disconnected/);
  },

  async serverIsAnsweredOnce(bench) {
    const socket = bench.open();
    socket.on("question", (why, answer) => {
      answer(why, { test: true });
      answer("again");
    });
    const heard = [];
    socket.on("answered", (...args) => heard.push(args));
    socket.emit("askMe");
    await once(socket, "answered");
    await settled(socket);
    assert.deepEqual(heard, [["why", { test: true }]]);
  },

  async volatileEventsAreDroppedWithoutAConnection(bench) {
    const socket = bench.open({ autoConnect: false });
    const heard = [];
    socket.on("echo", (text) => heard.push(text));
    socket.volatile.emit("echo", "dropped");
    socket.emit("echo", "kept");
    socket.connect();
    await settled(socket);
    assert.deepEqual(heard, ["kept"]);
  },

  async volatileEventsLeaveWhereThereIsRoom(bench) {
    const socket = bench.open();
    await settled(socket);
    const heard = once(socket, "echo");
    const timer = setInterval(() => socket.volatile.emit("echo", "now"), 20);
    const [text] = await heard;
    clearInterval(timer);
    assert.equal(text, "now");
  },

  async uncompressedEventsArrive(bench) {
    const socket = bench.open();
    await once(socket, "connect");
    const created = once(socket.io.engine, "packetCreate");
    const answer = socket.compress(false).emitWithAck("echoAck", "x".repeat(5_000));
    assert.equal((await created)[0].options.compress, false);
    assert.equal((await answer).length, 5_000);
  },

  async listenersToEverythingHearEverything(bench) {
    const socket = bench.open();
    const heard = [];
    const removed = () => heard.push("removed");
    socket.onAny((event, ...args) => heard.push(["in", event, args]));
    socket.prependAny(() => heard.push("first"));
    socket.onAny(removed).offAny(removed);
    socket.onAnyOutgoing((event, bytes) => heard.push(["out", event, bytes.length]));
    socket.emit("echo", Uint8Array.of(1, 2, 3));
    await once(socket, "echo");
    assert.deepEqual(heard, [
      ["out", "echo", 3], "first", ["in", "echo", [Buffer.from([1, 2, 3])]],
    ]);
  },

  async eventsThatAreTriedAgainArriveOnceAndInOrder(bench) {
    const socket = bench.open({ retries: 2, ackTimeout: LIMIT_MS });
    const run = `retries ${Math.random()}`;
    const answers = await Promise.all(
      [0, 1, 2, 3].map((n) => new Promise((resolve, reject) => {
        socket.emit("record", run, n, "", (error, back) => (error ? reject(error) : resolve(back)));
      })),
    );
    assert.deepEqual(answers, [0, 1, 2, 3]);
    const plain = bench.open();
    assert.deepEqual(await plain.emitWithAck("recorded", run), [0, 1, 2, 3]);
  },

  async eventThatNobodyAcknowledgesIsTriedSoOften(bench) {
    const socket = bench.open({ retries: 2, ackTimeout: 50 });
    await once(socket, "connect");
    let tries = 0;
    socket.io.engine.on("packetCreate", ({ data }) => {
      if (/nobodyListens/.test(data)) tries += 1;
    });
    const error = await new Promise((resolve) => socket.emit("nobodyListens", resolve));
    assert.ok(error instanceof Error);
    assert.equal(tries, 3);
    assert.equal(socket.connected, true);
  },

  async eventsToBeTriedWaitForTheConnection(bench) {
    const socket = bench.open({ autoConnect: false, retries: 1, ackTimeout: LIMIT_MS });
    const answer = new Promise((resolve) => socket.emit("echoAck", 7, (...a) => resolve(a)));
    socket.connect();
    assert.deepEqual(await answer, [null, 7]);
  },

  async textOfAllScriptsComesBack(bench) {
    const socket = bench.open();
    for (const text of ["한국 거래소", "Übergrößenträger", "Ω≈ç√∫", "日本 📈🇰🇷", "\u2028\u0000\x1e"]) {
      assert.equal(await socket.emitWithAck("echoAck", text), text);
    }
  },

  async emptyValuesComeBack(bench) {
    const socket = bench.open();
    for (const value of [false, 0, "", null, [], {}, [[]]]) {
      assert.deepEqual(await socket.emitWithAck("echoAck", value), value);
    }
    assert.equal(await socket.emitWithAck("echoAck", undefined), null);
    const date = new Date(1_700_000_000_000);
    assert.equal(await socket.emitWithAck("echoAck", date), date.toISOString());
  },

  async bytesOfEachKindComeBack(bench) {
    const socket = bench.open();
    const bytes = Buffer.from([0, 1, 30, 255]);
    const exact = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    for (const sent of [bytes, new Uint8Array(bytes), exact]) {
      assert.deepEqual(await socket.emitWithAck("echoAck", sent), bytes);
    }
    const mixed = { hello: "lol", message: [bytes, { deeper: bytes }], text: "gotcha" };
    assert.deepEqual(await socket.emitWithAck("echoAck", mixed), mixed);
    socket.emit("binaryOut");
    assert.deepEqual(await once(socket, "bytes"), [Buffer.from([1, 2, 3, 4])]);
  },

  async bytesAndTextKeepTheirOrder(bench) {
    const socket = bench.open();
    const heard = [];
    socket.on("echo", (value) => heard.push(typeof value === "string" ? value : [...value]));
    socket.emit("echo", Buffer.from([1]));
    socket.emit("echo", "second");
    socket.emit("echo", Uint8Array.of(3));
    socket.emit("echo", "fourth");
    await settled(socket);
    assert.deepEqual(heard, [[1], "second", [3], "fourth"]);
  },
};

async function outcome(run) {
  const bench = new Bench();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("takes too long")), LIMIT_MS);
  });
  try {
    await Promise.race([run(bench), late]);
    return null;
  } catch (error) {
    return String(error.stack || error);
  } finally {
    clearTimeout(timer);
    bench.close();
  }
}

function listening(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}

async function main() {
  await listening(silent);
  const gone = net.createServer();
  await listening(gone);
  nobody = `http://127.0.0.1:${gone.address().port}`;
  await new Promise((resolve) => gone.close(resolve));
  const names = Object.keys(cases);
  const results = await Promise.all(names.map((name) => outcome(cases[name])));
  return Object.fromEntries(names.map((name, at) => [name, results[at]]));
}

main().then((results) => {
  process.stdout.write(JSON.stringify(results) + "\n", () => process.exit(0));
});
