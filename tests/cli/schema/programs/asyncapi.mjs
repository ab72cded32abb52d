// Prints what the parser of AsyncAPI finds wrong with documents, and what it reads of them.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

for (const path of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"));
  const wrong = diagnostics.filter((one) => one.severity < 2).map((one) => `${one.path.join(".")}: ${one.message}`);
  const read = document && { version: document.version(), operations: document.operations().length };
  console.log(JSON.stringify({ wrong, ...read }));
}
