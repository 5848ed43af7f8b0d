/** How long the router takes to choose among n models, and how that grows. */
import type { ModelCard } from "../../src/domain/Catalog.ts"
import { ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { defaultPolicy } from "../../src/domain/Policy.ts"
import type { Conditions, Wish } from "../../src/route/Ranking.ts"
import { nearNames } from "../../src/route/NearNames.ts"
import { best, index } from "../../src/route/Ranking.ts"
import { textTokens } from "../../src/route/TokenEstimator.ts"
import { median, percentile } from "./statistics.ts"

const provider = ProviderName.make("bench")

/** Models of a thousand weights, three context windows and many prices, the same at every run. */
const modelsOf = (size: number): ReadonlyArray<ModelCard> =>
  Array.from({ length: size }, (_, i) => {
    const price = BigInt((i * 7919) % 5000) * 1_000_000n
    return {
      name: ModelName.make(`model-${i}`),
      provider,
      upstreamName: `model-${i}`,
      contextSize: [8192, 131_072, 1_048_576][i % 3] ?? 8192,
      maxOutputTokens: 4096,
      weight: (i * 104_729) % 1000,
      price: { input: price, output: price * 4n },
      capabilities: new Set(i % 4 === 0 ? ["tools", "vision", "streaming"] as const : ["streaming"] as const),
      aliases: [],
      enabled: true,
      source: "admin"
    }
  })

const healthy: Conditions = {
  standing: () => "ready",
  health: () => ({ circuit: "closed", retryAfterMs: 0, rateLimited: false, latencyMs: 0, errorRate: 0 }),
  tokenRatio: () => 1,
  leastTokenRatio: 1
}

const wishes: { readonly [name: string]: Wish } = {
  "any model": { need: { promptTokens: 500, maxTokens: undefined, capabilities: [] }, policy: defaultPolicy },
  "tools, large context, cheap": {
    need: { promptTokens: 200_000, maxTokens: 2000, capabilities: ["tools", "vision"] },
    policy: { ...defaultPolicy, maxRate: 1_000_000_000n }
  }
}

export interface RoutingRow {
  readonly models: number
  readonly wish: string
  readonly medianUs: number
  readonly p99Us: number
  readonly indexMs: number
}

/** Microseconds per choice at each size: medians over 2,000 choices after as many to warm up. */
export const measureRouting = (sizes: ReadonlyArray<number>): ReadonlyArray<RoutingRow> =>
  sizes.flatMap((size) => {
    const models = modelsOf(size)
    const began = performance.now()
    const built = index(models)
    const indexMs = performance.now() - began
    return Object.entries(wishes).map(([wish, question]) => {
      const choose = () => {
        const at = performance.now()
        best(built, question, healthy)
        return (performance.now() - at) * 1000
      }
      for (let i = 0; i < 2000; i++) choose()
      const times = Array.from({ length: 2000 }, choose)
      return { models: size, wish, medianUs: median(times), p99Us: percentile(times, 0.99), indexMs }
    })
  })

const timesOf = (runs: number, work: () => void): ReadonlyArray<number> =>
  Array.from({ length: runs }, () => {
    const at = performance.now()
    work()
    return performance.now() - at
  })

/** Milliseconds for what the router does once a request beside choosing: estimating a megabyte, and near names for a typing error. */
export const measureText = () => {
  const names = Array.from({ length: 10_000 }, (_, i) => `vendor-${i % 100}/some-model-name-${i}`)
  const megabyte = "The quick brown fox jumps over the lazy dog. ".repeat(23_302)
  return [
    { what: "estimate the tokens of 1 MB", medianMs: median(timesOf(20, () => textTokens(megabyte))) },
    { what: "near names among 10,000", medianMs: median(timesOf(20, () => nearNames("vendor-7/some-model-name-x", names))) }
  ]
}
