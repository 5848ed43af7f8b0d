/** Measures TokenHub on this machine and prints tables: `npm run bench`. `--json FILE` writes the figures too. */
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { measureRouting, measureText } from "./routing.ts"

const { values } = parseArgs({ options: { json: { type: "string" } } })

const routing = measureRouting([10, 100, 1000, 10_000])
const rounded = (value: number): number => Math.round(value * 10) / 10

console.log("Routing: time to choose a model, and to build the index after a change of the models")
console.table(routing.map(({ indexMs, medianUs, models, p99Us, wish }) => ({
  models,
  wish,
  "median µs": rounded(medianUs),
  "p99 µs": rounded(p99Us),
  "index ms": rounded(indexMs)
})))

const text = measureText()
console.table(text.map(({ medianMs, what }) => ({ what, "median ms": rounded(medianMs) })))

if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ routing, text }, null, 2)}\n`)
