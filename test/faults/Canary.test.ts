import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Canary from "../support/Canary.ts"

/** `npm run torture -- canary` takes all of the table. */
const faults = ["200", "401", "429", "500", "echo-key", "echo-key?status=400", "echo-key?status=500", "html-200", "malformed-json", "reset-mid-stream", "error-mid", "302"]

it.live("a secret appears in no answer, log line, span, metric, audit row, database file or backup, with debug on", () =>
  Effect.gen(function*() {
    const { calls, found, searched } = yield* Canary.hunt(faults)
    assert.deepStrictEqual(found, [])
    assert.strictEqual(calls, faults.length * Canary.callsPerFault)
    for (const where of ["client answers", "admin answers", "audit", "metrics", "backup", "database and its log of changes", "log", "spans"]) {
      assert.isAbove(searched[where] ?? 0, 1000, where)
    }
  }).pipe(Effect.scoped), 60_000)
