// All checks and all tests; `--static` runs the checks alone, other arguments go to vitest.
// The last line is "N passed, N failed[, N skipped]": tests, and each failed check counts as one failure.
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const bin = (name: string): string => `node_modules/.bin/${name}`

/** Each check is a program for the Node that runs this file. */
const checks: ReadonlyArray<readonly [name: string, args: ReadonlyArray<string>]> = [
  ["types", [bin("tsc")]],
  ["lint", [bin("oxlint")]],
  ["imports", ["scripts/check-imports.ts"]],
  ["licences", ["scripts/licences.ts"]],
  ["unused code", [bin("knip"), "--no-progress"]]
]

type Output = "inherit" | "pipe"

/** Runs a program on this Node; gives its exit code, and what it wrote where that is not inherited. */
const run = (args: ReadonlyArray<string>, output: Output): Promise<{ readonly code: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", output, output] })
    let text = ""
    child.stdout?.on("data", (chunk) => text += chunk)
    child.stderr?.on("data", (chunk) => text += chunk)
    child.on("error", reject)
    child.on("close", (code) => resolve({ code: code ?? 1, text }))
  })

/** Runs all checks at once, prints what the failed ones said, and gives the number of them. */
const runChecks = async (): Promise<number> => {
  const results = await Promise.all(checks.map(async ([name, args]) => {
    const { code, text } = await run(args, "pipe")
    console.log(code === 0 ? `ok     ${name}` : `FAILED ${name}\n${text.trimEnd()}`)
    return code === 0
  }))
  return results.filter((ok) => !ok).length
}

interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Reads vitest's JSON report; a failure outside of any test (a file that does not load) counts as one. */
const countsOf = (reportFile: string, code: number): Counts => {
  try {
    const report = JSON.parse(readFileSync(reportFile, "utf8"))
    const unloaded = report.testResults
      .filter((file: { status: string; assertionResults: ReadonlyArray<unknown> }) =>
        file.status === "failed" && file.assertionResults.length === 0)
    const failed: number = report.numFailedTests + unloaded.length
    return {
      passed: report.numPassedTests,
      failed: code === 0 ? failed : Math.max(failed, 1),
      skipped: report.numPendingTests + report.numTodoTests
    }
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
}

const runTests = async (filters: ReadonlyArray<string>): Promise<Counts> => {
  const folder = mkdtempSync(join(tmpdir(), "tokenhub-test-"))
  const report = join(folder, "report.json")
  try {
    const { code } = await run(
      [bin("vitest"), "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...filters],
      "inherit"
    )
    return countsOf(report, code)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const filters = process.argv.slice(2)
const failedChecks = await runChecks()
if (filters.includes("--static")) {
  process.exitCode = failedChecks === 0 ? 0 : 1
} else {
  const { passed, failed, skipped } = await runTests(filters)
  const failures = failed + failedChecks
  process.exitCode = failures === 0 ? 0 : 1
  console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
}
