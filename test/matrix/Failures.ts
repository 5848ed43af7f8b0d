/** Failures as each library tells them: its own exception for each status, and whether it asks again by itself. */
import { assert } from "@effect/vitest"
import { Context } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import type { Bench } from "./Bench.ts"
import { addModel, addProvider, modelName } from "./Bench.ts"
import type { Case } from "./Case.ts"
import type { Driver } from "./Client.ts"
import { failureOf } from "./Scenarios.ts"
import type { ClientName, UpstreamName } from "./Table.ts"
import { repeats, upstreamNames } from "./Table.ts"

interface Failing {
  readonly name: string
  /** What the provider does, at every call. */
  readonly fault: string
  readonly status: number
}

const failing: ReadonlyArray<Failing> = [
  { name: "an invalid request", fault: "400", status: 400 },
  { name: "a prompt too long", fault: "context-length", status: 400 },
  { name: "a bad key of the provider's", fault: "401", status: 502 },
  { name: "no such model at the provider", fault: "404", status: 404 },
  { name: "a request that can't be processed", fault: "422", status: 422 },
  { name: "a rate limit", fault: "429", status: 429 },
  { name: "a broken provider", fault: "500", status: 502 },
  { name: "an overloaded provider", fault: "529", status: 503 }
]

/** Nobody else is asked, and no Retry-After is waited for. */
const alone = { "x-tokenhub-allow-escalation": "false", "x-tokenhub-deadline-ms": "4000" }

let count = 0

/** A model at a provider of its own that fails in one way, and a key that opens all models. */
const prepare = async ({ fake, hub }: Bench, upstream: UpstreamName, fault: string) => {
  const name = `failing-${count++}`
  await addProvider({ fake, hub }, upstream, name)
  await addModel({ hub }, name, name, `fault-${fault}`, 1)
  const { json: { key } } = await hub.admin("POST", "/keys", { name })
  return { model: name, key: String(key) }
}

const ask = { text: "Hello" }

/** What each failure is for the library's user. */
const exceptions = (driver: Driver): ReadonlyArray<Case> =>
  upstreamNames.flatMap((upstream) =>
    failing.map(({ fault, name, status }): Case => ({
      group: "exceptions",
      name: `${name}, ${upstream}`,
      run: async (bench) => {
        for (const way of ["complete", "stream"] as const) {
          // A model of its own for each: the first failure may make it cool down.
          const { key, model } = await prepare(bench, upstream, fault)
          const client = driver.connect({ url: bench.hub.url, key, headers: alone, retries: 0 })
          const thrown = await failureOf(driver, client[way]({ ...ask, model }, () => {}))
          assert.deepStrictEqual([thrown.status, thrown.type], [status, driver.exceptionFor(status)], thrown.message)
        }
      }
    }))
  )

/** TokenHub's own refusals. */
const refusals = (driver: Driver): ReadonlyArray<Case> => {
  const refusal = (name: string, status: number, given: { readonly key?: string; readonly model: string }): Case => ({
    group: "exceptions",
    name,
    run: async ({ hub, keys }) => {
      const client = driver.connect({ url: hub.url, key: given.key ?? keys.openai, retries: 0 })
      const thrown = await failureOf(driver, client.complete({ ...ask, model: given.model }))
      assert.deepStrictEqual([thrown.status, thrown.type], [status, driver.exceptionFor(status)], thrown.message)
    }
  })
  return [
    refusal("a wrong client key", 401, { key: "th_wrong", model: modelName("openai") }),
    refusal("a model that the client key may not use", 403, { model: modelName("gemini") }),
    refusal("a model that nobody has", 404, { model: "no-such-model" })
  ]
}

/** Statuses that tell a client to leave it: 4xx, and `x-should-retry: false`. */
const final: ReadonlyArray<readonly [fault: string, status: number]> = [["400", 400], ["404", 404], ["422", 422], ["401", 502]]

const retries = (client: ClientName, driver: Driver): ReadonlyArray<Case> =>
  final.map(([fault, status]): Case => {
    const repeated = repeats[client].includes(status)
    return {
      group: "retries",
      name: `${repeated ? "asks again" : "does not ask again"} after a final ${status}`,
      run: async (bench) => {
        const { key, model } = await prepare(bench, "openai", fault)
        const client = driver.connect({ url: bench.hub.url, key, headers: alone, retries: repeated ? 1 : 2 })
        let requests = 0
        const stop = Context.get(bench.hub.services, Ledger).onSettle((row) => void (requests += row.model === model ? 1 : 0))
        const thrown = await failureOf(driver, client.complete({ ...ask, model }))
        stop()
        assert.strictEqual(requests, repeated ? 2 : 1)
        if (!repeated) assert.strictEqual(thrown.status, status)
      }
    }
  })

export const cases = (client: ClientName, driver: Driver): ReadonlyArray<Case> => [
  ...exceptions(driver),
  ...refusals(driver),
  ...retries(client, driver)
]
