// Applies the browser module's `rebase` to each [base, mine, theirs] of a JSON list on stdin.
// argv[2]: folder of the built module.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { rebase } = await import(pathToFileURL(`${process.argv[2]}/json.js`));
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map((sides) => rebase(...sides))));
