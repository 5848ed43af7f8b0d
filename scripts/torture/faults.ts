/** The larger runs of what `npm test` does in small: every fault with secrets to be found, and faults that nobody thought of. */
import { Effect } from "effect"
import * as Canary from "../../test/support/Canary.ts"
import * as GeneratedFaults from "../../test/support/GeneratedFaults.ts"
import type { Torment } from "./Torment.ts"
import { figure, promise, scaled, start } from "./Torment.ts"

export const canary: Torment = {
  name: "canary",
  about: "known secrets through the whole fault table with debug on, looked for in all that leaves",
  boundMinutes: 15,
  run: Effect.fnUntraced(function*(options) {
    const chosen = Canary.allFaults.slice(0, scaled(Canary.allFaults.length, options))
    const { calls, found, searched } = yield* Canary.hunt(chosen)
    return [
      figure("faults, calls", `${chosen.length}, ${calls}`),
      ...Object.entries(searched).map(([where, bytes]) => figure(`looked through: ${where}, bytes`, bytes)),
      promise("secrets found", found.length === 0 ? 0 : found.join("; "), "0", found.length === 0)
    ]
  })
}

export const generated: Torment = {
  name: "generated",
  about: "10,000 generated faults: status, headers, body, cut position",
  boundMinutes: 20,
  run: Effect.fnUntraced(function*(options) {
    const { fake, hub } = yield* start({ env: { TOKENHUB_RETRIES_PER_SECOND: "0", TOKENHUB_LOG_LEVEL: "error", TOKENHUB_MAX_LOOP_LAG_MS: "0" } })
    const seed = options.seed ?? Math.floor(Math.random() * 1e6)
    const { cases, statuses, violations } = yield* Effect.promise(() => GeneratedFaults.generate(hub, fake, { cases: scaled(10_000, options), seed, workers: 24 }))
    violations.forEach(options.say)
    const defects = hub.printed().split("\n").filter((line) => line.includes("by a defect")).length
    return [
      figure("cases, seed", `${cases}, ${seed}`),
      figure("answers by status", [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`).join(", ")),
      promise("violations", violations.length, "0", violations.length === 0),
      promise("defects in the log", defects, "0", defects === 0)
    ]
  })
}
