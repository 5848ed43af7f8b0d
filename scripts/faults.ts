/** Runs the tests that hold FAULTS.md true and prints one line a row, with its result: `npm run faults`. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import type { Claim } from "../test/faults/rows.ts"
import { rows } from "../test/faults/rows.ts"

interface Result {
  readonly title: string
  readonly status: string
  readonly duration?: number
}

const folder = mkdtempSync(join(tmpdir(), "tokenhub-faults-"))
const report = join(folder, "report.json")
const files = [...new Set(rows.flatMap(({ claims }) => claims.map(({ file }) => `test/${file}`)))]
spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "--retry=0", "--reporter=dot", "--reporter=json", `--outputFile.json=${report}`, ...files], {
  stdio: ["ignore", "inherit", "inherit"]
})

interface File {
  readonly name: string
  readonly assertionResults: ReadonlyArray<Result>
}

const found: ReadonlyArray<File> = JSON.parse(readFileSync(report, "utf8")).testResults
rmSync(folder, { recursive: true })

/** The tests whose names begin as the claim says; `\${…}` stands for anything. */
const resultsOf = ({ file, test }: Claim): ReadonlyArray<Result> => {
  const pattern = test.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*")
  const matches = new RegExp(`^(row )?${pattern}`)
  return found.filter(({ name }) => relative("test", name) === file).flatMap(({ assertionResults }) => assertionResults.filter(({ title }) => matches.test(title)))
}

let failed = 0
console.log("\n| row | fault | tests | result | seconds |\n|---|---|---|---|---|")
for (const { claims, fault, row } of rows) {
  const results = claims.flatMap(resultsOf)
  const passed = results.filter(({ status }) => status === "passed").length
  const good = passed === results.length && claims.every((claim) => resultsOf(claim).length > 0)
  if (!good) failed++
  const seconds = results.reduce((sum, { duration = 0 }) => sum + duration, 0) / 1000
  const where = [...new Set(claims.map(({ file }) => file))].join(", ")
  console.log(`| ${row} | ${fault} | ${where} | ${good ? "passed" : "FAILED"} ${passed}/${results.length} | ${seconds.toFixed(1)} |`)
}
process.exitCode = failed === 0 ? 0 : 1
