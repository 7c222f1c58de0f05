"use strict";

// A real headless Chromium under remote control: one browser profile with any number of pages.
// argv[2]: {module: folder of the built browser module}. Whatever the server, each page is at its
// /app/, and can import "@stockstream/client"; that needs no network, as with a service worker.
// Takes commands as lines of JSON on stdin, and answers each with a line {result} or {error}:
//   {open: page, url}         (a new page of this name at a server; what was stored before is there)
//   {reload: page}   {close: page}
//   {run: page, code}         (the body of an async function in the page; its result is the answer)
//   {offline: true}           (cuts all pages off the network, or lets them on again)
//   {crash: page}             (kills the page's process; it is gone without any goodbye)

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

// Chromium would look up hosts of its maker at every start.
const QUIET = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const { module: moduleFolder } = JSON.parse(process.argv[2]);
const socketIo = path.join(__dirname, "node_modules/socket.io-client/dist/socket.io.esm.min.js");
const PAGE = `<!doctype html><meta charset="utf-8"><title>page</title>
<script type="importmap">
{"imports": {"@stockstream/client": "/app/index.js", "socket.io-client": "/app/socket.io.js"}}
</script>`;

async function serve(route) {
  const name = path.basename(new URL(route.request().url()).pathname);
  if (!name.endsWith(".js")) return route.fulfill({ contentType: "text/html", body: PAGE });
  const file = name === "socket.io.js" ? socketIo : path.join(moduleFolder, name);
  return route.fulfill({ contentType: "text/javascript", body: fs.readFileSync(file) });
}

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    chromiumSandbox: false,
    args: QUIET,
  });
  const context = await browser.newContext();
  // A page that no network brought counts as a public one, and would need the user's consent to
  // open a WebSocket to this machine.
  await context.grantPermissions(["local-network-access"]);
  await context.route("**/app/**", serve);
  const pages = new Map();

  const commands = {
    async open({ open: name, url }) {
      const page = await context.newPage();
      page.on("pageerror", (error) => console.error(name, error));
      page.on("console", (message) => console.error(name, message.text()));
      pages.set(name, page);
      await page.goto(`${url}/app/`);
    },
    reload: ({ reload: name }) => pages.get(name).reload().then(() => null),
    close: ({ close: name }) => pages.get(name).close(),
    run: ({ run: name, code }) =>
      pages.get(name).evaluate((body) => new Function(`return (async () => { ${body} })()`)(), code),
    offline: ({ offline }) => context.setOffline(offline),
    async crash({ crash: name }) {
      const page = pages.get(name);
      const crashed = page.waitForEvent("crash");
      page.goto("chrome://crash").catch(() => null);
      await crashed;
      await page.close();
    },
  };

  console.log(JSON.stringify({ result: browser.version() }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      const result = await commands[Object.keys(command)[0]](command);
      console.log(JSON.stringify({ result: result === undefined ? null : result }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }));
    }
  }
  await browser.close();
}

main();
