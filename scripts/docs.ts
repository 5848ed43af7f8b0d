/** Writes the parts of README.md that are made from the code: `npm run docs`. */
import { readFileSync, writeFileSync } from "node:fs"
import { variables } from "../src/Settings.ts"

const cell = (text: string): string => text.replaceAll("|", "\\|")

const variableTable = [
  "| variable | default | what | allowed |",
  "|---|---|---|---|",
  ...Object.values(variables).map(({ about, allowed, fallback, name }) =>
    `| \`${name}\` | ${fallback === undefined ? "required" : fallback === "" ? "none" : `\`${fallback}\``} | ${cell(about)} | ${cell(allowed)} |`)
].join("\n")

/** The README with its generated parts made anew. */
export const generated = (readme: string): string =>
  readme.replace(/(<!-- variables:[^>]*-->)[^]*?(<!-- \/variables -->)/, (_, open: string, close: string) => `${open}\n\n${variableTable}\n\n${close}`)

if (import.meta.main) writeFileSync("README.md", generated(readFileSync("README.md", "utf8")))
