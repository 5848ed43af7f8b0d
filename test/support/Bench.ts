/** A TokenHub with one provider and models at the fake vendor, for tests of the whole product. */
import { assert } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import type { RequestFilter } from "../../src/account/Ledger.ts"
import type { FakeProvider } from "./FakeProvider.ts"
import * as Fake from "./FakeProvider.ts"
import type { Answer, Client, Hub, Options } from "./Harness.ts"
import * as Harness from "./Harness.ts"

export const ok = (answer: Answer) => {
  assert.isBelow(answer.status, 300, answer.text)
  return answer.json
}

/** Provider `p` with these models, the later the heavier; a token costs 1,000 nano-dollars. */
export const addModels = async (hub: Client, fake: FakeProvider, models: ReadonlyArray<string>, provider: object = {}) => {
  ok(await hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai"), ...provider }))
  for (const [at, name] of models.entries()) {
    ok(await hub.admin("POST", "/models", { name, provider: "p", context_size: 100_000, max_output_tokens: 1000, weight: 10 * (at + 1), cost_per_1k_tokens: 0.001 }))
  }
}

/** A TokenHub in this process, and the vendor behind it. */
export const start = Effect.fnUntraced(function*(options: Options & { readonly models?: ReadonlyArray<string>; readonly provider?: object } = {}) {
  const fake = yield* Fake.scoped()
  const { env, models = ["m"], provider, ...rest } = options
  const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", ...env }, ...rest })
  yield* Effect.promise(() => addModels(hub, fake, models, provider))
  return { fake, hub }
})

export const ask = (more: object = {}) => ({ messages: [{ role: "user", content: "Hello" }], max_tokens: 100, ...more })

/** The settled rows of the ledger, newest first. */
export const settled = (hub: Hub, filter: Partial<RequestFilter> = {}) =>
  Effect.runPromise(
    Effect.gen(function*() {
      const ledger = Context.get(hub.services, Ledger)
      yield* ledger.flush
      return (yield* ledger.requests({ limit: 100, event: "chat", ...filter })).filter(({ status }) => status !== null)
    })
  )
