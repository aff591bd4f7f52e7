// componentize.mjs SOURCE WIT OUTPUT: makes a component of a JavaScript module.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [source, wit, output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: source,
  witPath: wit,
  worldName: "component",
  // Without these it would import wasi:http.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(output, component);
