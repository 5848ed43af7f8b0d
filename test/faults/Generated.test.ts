import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Bench from "../support/Bench.ts"
import { generate } from "../support/GeneratedFaults.ts"

/** `npm run torture -- generated` takes 10,000 and other seeds. */
const cases = 800

it.live("generated faults give no untyped 500, no broken envelope, no stream that ends as if all were well", () =>
  Effect.gen(function*() {
    const { fake, hub } = yield* Bench.start({ env: { TOKENHUB_RETRIES_PER_SECOND: "0", TOKENHUB_CLIENT_AUTH: "off" } })
    const { statuses, violations } = yield* Effect.promise(() => generate(hub, fake, { cases, seed: 1, workers: 12 }))
    assert.deepStrictEqual(violations, [])
    assert.isAbove(statuses.get(200) ?? 0, cases / 20)
    const open = yield* Effect.promise(() => hub.admin("GET", "/requests?limit=100"))
    assert.isTrue(open.json.requests.every(({ status }: { status: number | null }) => status !== null))
  }).pipe(Effect.scoped), 60_000)
