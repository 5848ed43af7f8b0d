// Checks "Who may import whom" and the single owners; prints each violation and exits with 1 if there is one.
// The tables below are the rules. Cycles are oxlint's part (import/no-cycle).
import { globSync, readFileSync } from "node:fs"
import { posix } from "node:path"
import { type ParseResult, parseSync, Visitor } from "oxc-parser"

/** What each folder or top-level file of src may import besides itself and Settings.ts. */
const mayImport: Readonly<Record<string, ReadonlyArray<string>>> = {
  "domain": [],
  "Settings.ts": ["domain"],
  "store": ["domain"],
  "telemetry": ["domain"],
  "vault": ["domain", "store", "telemetry"],
  "account": ["domain", "store", "telemetry"],
  "provider": ["domain", "store", "vault", "telemetry"],
  "route": ["domain", "store", "telemetry", "provider/ProviderRegistry.ts"],
  "orchestrate": ["domain", "route", "provider", "account", "telemetry"],
  "http": ["domain", "orchestrate", "route", "provider", "vault", "account", "telemetry"],
  "Server.ts": ["domain", "store", "telemetry", "vault", "account", "provider", "route", "orchestrate", "http"],
  "main.ts": ["Server.ts"]
}

/** The only file outside of src that src may import: the version stands there. */
const manifest = "../package.json"

/** The packages of a part that may not use any package it likes. */
const packages: Readonly<Record<string, RegExp>> = { domain: /^effect(\/|$)/ }

/** What one folder or file alone may use, with the parts that it is made of: `module#name` for an import, else an expression. */
const owners: ReadonlyArray<{ readonly use: RegExp; readonly owner: string; readonly parts?: ReadonlyArray<string> }> = [
  { use: /^(process\.env|process\["env"\]|(node:)?process#env|effect#Config|effect\/Config#.+)$/, owner: "Settings.ts" },
  { use: /^(undici|(node:)?https)(\/.+)?#/, owner: "provider/Upstream.ts", parts: ["provider/Exchange.ts"] },
  { use: /^(effect\/sql(\/.+)?|node:sqlite|@effect\/sql-.+)#/, owner: "store" },
  { use: /^Metric\.(counter|frequency|gauge|histogram|summary|summaryWithTimestamp|timer)$/, owner: "telemetry/Metrics.ts" }
]

interface Import {
  readonly module: string
  /** The imported name; `*` for a whole module, its default, a bare import, and what is known at run time only. */
  readonly name: string
}

/** The imports and re-exports of a parsed file, those of types too, and the member expressions (`a.b`) in it. */
const usesOf = ({ module, program }: ParseResult, code: string) => {
  const imports: Array<Import> = []
  const members: Array<string> = []
  for (const { entries, moduleRequest } of module.staticImports) {
    if (entries.length === 0) imports.push({ module: moduleRequest.value, name: "*" })
    for (const { importName } of entries) imports.push({ module: moduleRequest.value, name: importName.name ?? "*" })
  }
  for (const { importName, moduleRequest } of module.staticExports.flatMap(({ entries }) => entries)) {
    if (moduleRequest) imports.push({ module: moduleRequest.value, name: importName.name ?? "*" })
  }
  const byLiteral = (source: { readonly type: string; readonly value?: unknown }) =>
    imports.push({ module: typeof source.value === "string" ? source.value : "(computed)", name: "*" })
  new Visitor({
    ImportExpression: (node) => byLiteral(node.source),
    TSImportType: (node) => byLiteral(node.source),
    MemberExpression: (node) => members.push(code.slice(node.start, node.end).replaceAll(/\s|\?|^globalThis\./g, ""))
  }).visit(program)
  return { imports, members }
}

const within = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`)

const partOf = (path: string): string => path.split("/", 1)[0] ?? path

/** What is wrong with an import, in words, or undefined. `path` and the answer's paths are relative to src. */
const faultOf = (path: string, { module }: Import): string | undefined => {
  const part = partOf(path)
  const allowed = mayImport[part]
  if (allowed === undefined) return `${part} stands in no rule: add it to the table in scripts/check-imports.ts`
  if (!module.startsWith(".") && !module.startsWith("/")) {
    return packages[part]?.test(module) === false ? `${part} may not import the package ${module}` : undefined
  }
  const target = posix.normalize(posix.join(posix.dirname(path), module))
  if (target === manifest || target === "Settings.ts" || within(target, part)) return undefined
  return allowed.some((place) => within(target, place)) ? undefined : `${part} may not import ${target}`
}

/** Checks one file of src, `path` being relative to it; gives one line for each violation. */
export const violationsOf = (path: string, code: string): ReadonlyArray<string> => {
  const parsed = parseSync(path, code)
  if (parsed.errors[0] !== undefined) return [`src/${path}: ${parsed.errors[0].message}`]
  const { imports, members } = usesOf(parsed, code)
  const faults = imports.flatMap((one) => faultOf(path, one) ?? [])
  const uses = [...imports.map(({ module, name }) => `${module}#${name}`), ...members]
  for (const { owner, parts = [], use } of owners) {
    if ([owner, ...parts].some((place) => within(path, place))) continue
    for (const found of uses.filter((one) => use.test(one))) faults.push(`only ${owner} may use ${found}`)
  }
  return [...new Set(faults)].map((fault) => `src/${path}: ${fault}`)
}

if (import.meta.main) {
  const files = globSync("**/*.ts", { cwd: "src" }).toSorted()
  const violations = files.flatMap((path) => violationsOf(path, readFileSync(posix.join("src", path), "utf8")))
  for (const violation of violations) console.error(violation)
  process.exitCode = violations.length === 0 ? 0 : 1
}
