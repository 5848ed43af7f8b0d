/** Writes the parts of README.md and of docs/CLIENTS.md that are made from the code: `npm run docs`. */
import { readFileSync, writeFileSync } from "node:fs"
import { variables } from "../src/Settings.ts"
import { markdown as fieldTables } from "../test/matrix/Fields.ts"
import { markdown as clientTables } from "../test/matrix/Table.ts"

const cell = (text: string): string => text.replaceAll("|", "\\|")

const variableTable = [
  "| variable | default | what | allowed |",
  "|---|---|---|---|",
  ...Object.values(variables).map(({ about, allowed, fallback, name }) =>
    `| \`${name}\` | ${fallback === undefined ? "required" : fallback === "" ? "none" : `\`${fallback}\``} | ${cell(about)} | ${cell(allowed)} |`)
].join("\n")

/** A page whose part between the marks `<!-- name: … -->` and `<!-- /name -->` is this text. */
const filled = (name: string, text: string) => (page: string): string =>
  page.replace(
    new RegExp(`(<!-- ${name}:[^>]*-->)[^]*?(<!-- /${name} -->)`),
    (_, open: string, close: string) => `${open}\n\n${text}\n\n${close}`
  )

/** The README with its generated part made anew. */
export const generated = filled("variables", variableTable)

const filledClients = filled("clients", clientTables)
const filledFields = filled("fields", fieldTables)

/** docs/CLIENTS.md with its generated parts made anew. */
export const generatedClients = (page: string): string => filledFields(filledClients(page))

if (import.meta.main) {
  for (const [file, make] of [["README.md", generated], ["docs/CLIENTS.md", generatedClients]] as const) {
    writeFileSync(file, make(readFileSync(file, "utf8")))
  }
}
