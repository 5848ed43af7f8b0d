import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Part } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { defaultPolicy } from "../../src/domain/Policy.ts"
import type { Fault } from "../../src/domain/ProviderError.ts"
import { HealthBoard } from "../../src/route/HealthBoard.ts"
import { ModelRegistry } from "../../src/route/ModelRegistry.ts"
import type { Question } from "../../src/route/Router.ts"
import { Router } from "../../src/route/Router.ts"
import { ask, modelCard, providerCard, usageOf } from "../support/Doubles.ts"
import { memorySettings, unavailable } from "../support/MemoryStores.ts"
import { memoryModels, memoryProviders, routerOf } from "../support/Routing.ts"

const provider = (name: string, credential: "vault" | "none" | "locked" = "vault", enabled = true, providerType = "openai-compatible") => ({
  card: providerCard(name, { providerType, enabled }),
  credential
})

const small = modelCard("small", { provider: "p", weight: 1, contextSize: 1000, price: { input: 1n, output: 1n } })
const large = modelCard("large", { provider: "q", weight: 5, contextSize: 100_000, price: { input: 9n, output: 9n } })

const question = (given: Partial<Question> = {}): Question => ({
  need: { promptTokens: 100, maxTokens: 100, capabilities: [] },
  policy: defaultPolicy,
  ...given
})

const needing = (promptTokens: number) => question({ need: { promptTokens, maxTokens: 0, capabilities: [] } })

const over = (providers = memoryProviders(provider("p"), provider("q")), models = memoryModels(small, large), settings = memorySettings()) =>
  routerOf(providers, models, settings)

const fail = (fault: Fault, breaks: boolean, coolDownMs = 0) => ({ ok: false, fault, breaks, coolDownMs, durationMs: 10 })

describe("Router", () => {
  it.effect("chooses the best candidate, and follows changes of models and keys", () => {
    const providers = memoryProviders(provider("p"), provider("q"))
    return Effect.gen(function*() {
      const router = yield* Router
      const registry = yield* ModelRegistry
      assert.strictEqual((yield* router.choose(question())).name, "large")
      yield* registry.put(modelCard("newest", { weight: 9 }))
      assert.strictEqual((yield* router.choose(question())).name, "newest")
      yield* registry.remove(modelCard("newest").name)
      providers.set(provider("q", "none"))
      assert.strictEqual((yield* router.choose(question())).name, "small")
      providers.set(provider("q"))
      assert.strictEqual((yield* router.choose(question())).name, "large")
    }).pipe(Effect.provide(over(providers)))
  })

  it.effect("says of every model why it was left out", () => {
    const providers = memoryProviders(provider("p", "none"), provider("q", "vault", false), provider("local", "none", true, "ollama"))
    const models = memoryModels(
      small,
      large,
      modelCard("off", { provider: "local", enabled: false }),
      modelCard("keyless", { provider: "local" }),
      modelCard("orphan", { provider: "gone" })
    )
    return Effect.gen(function*() {
      const router = yield* Router
      const { candidates, drops } = yield* router.explain(question())
      assert.deepStrictEqual(candidates.map((model) => model.name), ["keyless"])
      assert.deepStrictEqual(drops.map((drop) => [drop.model, drop.reason]), [
        ["large", "disabled"],
        ["off", "disabled"],
        ["orphan", "no_credential"],
        ["small", "no_credential"]
      ])
      const error = yield* Effect.flip(router.choose(question({ tried: new Set([modelCard("keyless").name]) })))
      assert.strictEqual(error._tag, "NoCandidate")
      if (error._tag === "NoCandidate") assert.strictEqual(error.drops.length, 5)
    }).pipe(Effect.provide(over(providers, models)))
  })

  it.effect("blames the locked vault only if a model would do were it open", () =>
    Effect.gen(function*() {
      const router = yield* Router
      assert.strictEqual((yield* Effect.flip(router.choose(question())))._tag, "VaultLocked")
      assert.strictEqual((yield* Effect.flip(router.choose(needing(1e6))))._tag, "NoCandidate")
    }).pipe(Effect.provide(over(memoryProviders(provider("p", "locked"), provider("q", "none"))))))

  it.effect("answers with the earliest time when time is all that stands in the way", () =>
    Effect.gen(function*() {
      const router = yield* Router
      const health = yield* HealthBoard
      yield* health.record(small, fail("rate_limited", false, 5000))
      assert.strictEqual((yield* router.choose(question())).name, "large")
      yield* health.record(large, fail("rate_limited", false, 3000))
      const limited = yield* Effect.flip(router.choose(question()))
      assert.deepInclude(limited, { _tag: "AllCoolingDown", retryAfterMs: 3000, rateLimited: true })
      yield* health.record(large, fail("server_error", true))
      yield* health.record(large, fail("server_error", true))
      assert.deepInclude(yield* Effect.flip(router.choose(question())), { _tag: "AllCoolingDown", retryAfterMs: 5000, rateLimited: false })
      // Only the large one fits, so the small one's time does not count.
      assert.deepInclude(yield* Effect.flip(router.choose(needing(5000))), { _tag: "AllCoolingDown", retryAfterMs: 30_000 })
      assert.strictEqual((yield* Effect.flip(router.choose(needing(1e6))))._tag, "NoCandidate")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* router.choose(question())).name, "small")
    }).pipe(Effect.provide(over())))

  it.effect("escalates to what fits only, once per model, and not against the policy", () =>
    Effect.gen(function*() {
      const router = yield* Router
      assert.strictEqual((yield* router.escalate(small, question()))?.name, "large")
      assert.isUndefined(yield* router.escalate(small, needing(1e6)))
      assert.isUndefined(yield* router.escalate(large, question()))
      assert.isUndefined(yield* router.escalate(small, question({ tried: new Set([large.name]) })))
      assert.isUndefined(yield* router.escalate(small, question({ policy: { ...defaultPolicy, maxRate: 5n } })))
      assert.isUndefined(yield* router.escalate(small, question({ policy: { ...defaultPolicy, allowEscalation: false } })))
    }).pipe(Effect.provide(over())))

  it.effect("prefers a critic of another provider", () =>
    Effect.gen(function*() {
      const router = yield* Router
      const critic = yield* router.choose(question({ avoid: { model: large.name, provider: "q" } }))
      assert.strictEqual(critic.name, "small")
      // A model that is the planner itself still beats none.
      const only = yield* router.choose({ ...needing(5000), avoid: { model: large.name, provider: "q" } })
      assert.strictEqual(only.name, "large")
    }).pipe(Effect.provide(over())))

  it.effect("finds out what a request needs", () =>
    Effect.gen(function*() {
      const router = yield* Router
      const plain = router.need({ ...ask("hello"), maxTokens: 7 })
      assert.deepInclude(plain, { maxTokens: 7, capabilities: [] })
      assert.isAbove(plain.promptTokens, 0)
      const image: Part = { type: "image", source: { type: "url", url: "https://example.org/a.png" } }
      const all = router.need({
        messages: [
          { role: "user", content: [text("look"), image] },
          { role: "tool", content: [{ type: "tool_result", toolCallId: "1", content: [text("22 °C")] }] }
        ],
        responseFormat: { type: "json_schema", name: "answer", schema: {} }
      })
      assert.deepStrictEqual(all.capabilities, ["tools", "vision", "json_schema"])
      const notes: Part = { type: "file", source: { type: "data", mediaType: "text/plain", data: "aGk=" } }
      assert.deepStrictEqual(router.need({ messages: [{ role: "user", content: [notes] }] }).capabilities, [])
    }).pipe(Effect.provide(over())))

  it.effect("corrects the estimate per model by what providers counted, and remembers it", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const router = yield* Router
        const asked = needing(800)
        assert.isUndefined(router.obstacle(small, asked.need))
        for (let i = 0; i < 50; i++) yield* router.learn(small, 1000, usageOf(2000, 1))
        yield* router.learn(large, 1000, { ...usageOf(2000, 1), estimated: true })
        assert.strictEqual(router.obstacle(small, asked.need)?.reason, "context_too_small")
        assert.isEmpty(settings.rows)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([...settings.rows.keys()], ["token_ratio/small"])
        yield* router.learn(large, 1000, usageOf(2000, 1))
      }).pipe(Effect.provide(over(undefined, undefined, settings)))
      assert.strictEqual(settings.rows.get("token_ratio/large"), "1.1000")
      yield* Effect.gen(function*() {
        const router = yield* Router
        assert.strictEqual(router.obstacle(small, needing(800).need)?.reason, "context_too_small")
      }).pipe(Effect.provide(over(undefined, undefined, settings)))
    })
  })

  it.effect("keeps routing when what was learnt can't be stored", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      const router = yield* Router
      yield* router.learn(small, 1000, usageOf(2000, 1))
      settings.fault = unavailable
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* router.choose(question())).name, "large")
    }).pipe(Effect.provide(over(undefined, undefined, settings)))
  })
})
