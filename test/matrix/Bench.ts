/** One TokenHub and one fake provider for all cells of a client: two models at each kind of provider, behind a key of their own. */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"
import type { UpstreamName } from "./Table.ts"
import { upstreamNames } from "./Table.ts"
import { upstreams } from "./Upstreams.ts"

export interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
  /** A client key that opens the models of one upstream, so that the router can choose no other. */
  readonly keys: Readonly<Record<UpstreamName, string>>
}

export class MatrixBench extends Context.Service<MatrixBench, Bench>()("test/MatrixBench") {}

/** What the client calls the model that weighs most at an upstream. */
export const modelName = (upstream: UpstreamName): string => `${upstream}-large`

const made = ({ json, status, text }: Answer) => {
  assert.strictEqual(status, 201, text)
  return json
}

/** Adds a provider of the upstream's type that speaks to the fake one. */
export const addProvider = async ({ fake, hub }: Pick<Bench, "fake" | "hub">, upstream: UpstreamName, name: string) =>
  made(await hub.admin("POST", "/providers", {
    name,
    provider_type: upstream,
    api_key: "sk-matrix-key",
    base_url: fake.url(upstreams[upstream].vendor)
  }))

export const addModel = async ({ hub }: Pick<Bench, "hub">, name: string, provider: string, upstream_name: string, weight: number) =>
  made(await hub.admin("POST", "/models", {
    name,
    provider,
    upstream_name,
    weight,
    context_size: 100_000,
    cost_per_1k_tokens: 0.01,
    max_output_tokens: 8192,
    capabilities: ["tools", "vision", "json_schema", "streaming", "reasoning"]
  }))

/** Nothing that one cell does to a model's health is felt by the next. */
const env = { TOKENHUB_MOCK: "false", TOKENHUB_BREAKER_FAILURES: "1000", TOKENHUB_RETRIES_PER_SECOND: "100000" }

export const layer = Layer.effect(
  MatrixBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env })
    const entries = yield* Effect.forEach(upstreamNames, (upstream) =>
      Effect.promise(async () => {
        const [large, small] = upstreams[upstream].models
        await addProvider({ fake, hub }, upstream, upstream)
        await addModel({ hub }, modelName(upstream), upstream, large, 20)
        await addModel({ hub }, `${upstream}-small`, upstream, small, 10)
        const { key } = made(await hub.admin("POST", "/keys", { name: upstream, models: [modelName(upstream), `${upstream}-small`] }))
        return [upstream, String(key)] as const
      }))
    return { fake, hub, keys: Object.fromEntries(entries) as Bench["keys"] }
  })
)
