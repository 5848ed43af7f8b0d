import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { ModelCard } from "../../src/domain/Catalog.ts"
import { ModelName } from "../../src/domain/Ids.ts"
import { defaultPolicy } from "../../src/domain/Policy.ts"
import type { Health } from "../../src/route/HealthBoard.ts"
import type { Conditions, Wish } from "../../src/route/Ranking.ts"
import { best, defaultOutputTokens, index, neededTokens, obstacle, rank } from "../../src/route/Ranking.ts"
import { modelCard } from "../support/Doubles.ts"

const fine: Health = { circuit: "closed", retryAfterMs: 0, rateLimited: false, latencyMs: 0, errorRate: 0 }

const always: Conditions = { standing: () => "ready", health: () => fine, tokenRatio: () => 1, leastTokenRatio: 1 }

const healths = (given: { readonly [model: string]: Partial<Health> }): Conditions => ({
  ...always,
  health: (model) => ({ ...fine, ...given[model.name] })
})

const wish = (given: Partial<Wish> = {}): Wish => ({
  need: { promptTokens: 100, maxTokens: 100, capabilities: [] },
  policy: defaultPolicy,
  ...given
})

const names = (models: ReadonlyArray<ModelCard>) => models.map((model) => model.name)

const price = (rate: bigint) => ({ input: rate, output: rate })

const reasonOf = (model: ModelCard, given: Wish, conditions = always) => rank([model], given, conditions).drops[0]?.reason

const small = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 }))
const flag = Schema.Boolean

/** Few different values of everything, so that ties and drops of each kind are common. */
const Drawn = Schema.Struct({
  provider: small,
  context: small,
  output: small,
  weight: small,
  price: small,
  tools: flag,
  embeds: small,
  enabled: small,
  waits: small,
  latency: small,
  errors: small,
  ratio: small
})

const DrawnWish = Schema.Struct({
  prompt: small,
  maxTokens: small,
  minContext: small,
  tools: flag,
  limit: small,
  byWeight: flag,
  tried: small,
  after: small,
  avoid: small,
  off: small,
  forbidden: small,
  priced: flag,
  limited: small
})

const world = (drawn: ReadonlyArray<typeof Drawn.Type>, given: typeof DrawnWish.Type) => {
  const models = drawn.map((draw, i) =>
    modelCard(`m${String(i).padStart(3, "0")}`, {
      provider: `p${draw.provider}`,
      contextSize: 1000 * (1 + draw.context),
      maxOutputTokens: [null, 100, 500, 5000][draw.output] ?? null,
      weight: draw.weight,
      price: draw.price === 3 ? null : price(BigInt(draw.price) * 1_000_000_000n),
      capabilities: new Set(draw.embeds === 0 ? ["embeddings"] : draw.tools ? ["tools", "streaming"] : ["streaming"]),
      enabled: draw.enabled !== 0
    })
  )
  const at = (model: ModelCard) => drawn[Number(model.name.slice(1))]
  const ratio = (step: number) => [0.5, 1, 1, 2][step] ?? 1
  const conditions: Conditions = {
    standing: (provider) => provider === `p${given.off}` ? "no_credential" : "ready",
    health: (model) => {
      const draw = at(model)
      return {
        ...fine,
        retryAfterMs: draw?.waits === 0 ? 1000 : 0,
        latencyMs: (draw?.latency ?? 0) * 100,
        errorRate: (draw?.errors ?? 0) / 10
      }
    },
    tokenRatio: (model) => ratio(at(model)?.ratio ?? 1),
    leastTokenRatio: 0.5
  }
  const name = (i: number) => ModelName.make(`m00${i}`)
  const after = given.after === 3 ? undefined : models[given.after]
  const asked: Wish = {
    need: {
      promptTokens: 600 * given.prompt,
      maxTokens: given.maxTokens === 0 ? undefined : 400 * given.maxTokens,
      capabilities: given.tools ? ["tools"] : []
    },
    policy: {
      maxRate: given.limit === 3 ? null : BigInt(given.limit) * 1_000_000_000n,
      minContextSize: 1000 * given.minContext,
      preferHigherWeight: given.byWeight,
      allowEscalation: true
    },
    caller: {
      allows: (model) => model.weight !== given.forbidden,
      priced: given.priced,
      waitMs: (model) => (model.provider === `p${given.limited}` && at(model)?.latency === 1 ? 500 : 0)
    },
    tried: new Set(given.tried === 3 ? [] : [name(given.tried)]),
    ...(given.avoid === 3 ? {} : { avoid: { model: name(given.avoid), provider: `p${given.avoid}` } }),
    ...(after === undefined ? {} : { after })
  }
  return { models, conditions, asked }
}

const drawnModels = Schema.Array(Drawn)

describe("Ranking", () => {
  it("leaves out what the caller may not ask, what a budget can't price, and what is at its own limit", () => {
    const caller = { allows: () => true, priced: false, waitMs: () => 0 }
    const free = modelCard("m", { price: null })
    assert.strictEqual(reasonOf(free, wish({ caller: { ...caller, allows: () => false } })), "not_allowed")
    assert.strictEqual(reasonOf(free, wish({ caller: { ...caller, priced: true } })), "unpriced")
    assert.isUndefined(reasonOf(free, wish({ caller })))
    assert.isUndefined(reasonOf(modelCard("m"), wish({ caller: { ...caller, priced: true } })))
    const { drops } = rank([free], wish({ caller: { ...caller, waitMs: () => 1500 } }), always)
    assert.deepInclude(drops[0], { reason: "cooling_down", retryAfterMs: 1500 })
  })

  it.prop("gives the same order whatever order the models came in", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    assert.deepStrictEqual(rank(models.toReversed(), asked, conditions), rank(models, asked, conditions))
  })

  it.prop("puts every model either among the candidates or among the drops, once", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    const { candidates, drops } = rank(models, asked, conditions)
    assert.deepStrictEqual([...names(candidates), ...drops.map((drop) => drop.model)].toSorted(), names(models).toSorted())
  })

  it.prop("keeps only candidates that pass every filter", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    const { need, policy } = asked
    for (const model of rank(models, asked, conditions).candidates) {
      assert.isTrue(model.enabled)
      assert.strictEqual(conditions.standing(model.provider), "ready")
      assert.isTrue(need.capabilities.every((capability) => model.capabilities.has(capability)))
      assert.isTrue(neededTokens(model, need, conditions.tokenRatio(model)) <= model.contextSize)
      assert.isTrue(policy.minContextSize <= model.contextSize)
      if (policy.maxRate !== null) assert.isTrue(model.price !== null && model.price.input <= policy.maxRate)
      assert.strictEqual(conditions.health(model).retryAfterMs, 0)
      assert.isFalse(asked.tried?.has(model.name) ?? false)
      if (asked.after !== undefined) {
        assert.isTrue(model.weight > asked.after.weight || model.contextSize > asked.after.contextSize)
      }
    }
  })

  it.prop("drops only models that a filter stops, each under that filter's name", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    const { after, caller, need, policy, tried } = asked
    const cards = new Map(models.map((model) => [model.name, model]))
    for (const { model: name, reason } of rank(models, asked, conditions).drops) {
      const model = cards.get(name)
      assert.isDefined(model)
      if (model === undefined) continue
      const needed = neededTokens(model, need, conditions.tokenRatio(model))
      const embedsOnly = model.capabilities.has("embeddings") && model.capabilities.size === 1
      const holds: { readonly [R in typeof reason]?: boolean } = {
        not_allowed: caller?.allows(model) === false,
        disabled: !model.enabled,
        no_credential: conditions.standing(model.provider) === "no_credential",
        missing_capability: embedsOnly || need.capabilities.some((capability) => !model.capabilities.has(capability)),
        context_too_small: Math.max(needed, policy.minContextSize) > model.contextSize,
        too_expensive: policy.maxRate !== null && model.price !== null && model.price.input > policy.maxRate,
        unpriced: model.price === null && (policy.maxRate !== null || caller?.priced === true),
        cooling_down: conditions.health(model).retryAfterMs > 0 || (caller?.waitMs(model) ?? 0) > 0,
        already_tried: tried?.has(model.name) === true || model.name === after?.name,
        not_an_escalation: after !== undefined && model.weight <= after.weight && model.contextSize <= after.contextSize
      }
      assert.isTrue(holds[reason], `${name} ${reason}`)
    }
  })

  it.prop("puts no candidate before one that it should rather take", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    const { avoid, policy } = asked
    /** What decides, from the first to the last; the lower of two wins. */
    const keys = (model: ModelCard): ReadonlyArray<number | string> => {
      const { errorRate, latencyMs } = conditions.health(model)
      return [
        model.name === avoid?.model ? 2 : model.provider === avoid?.provider ? 1 : 0,
        policy.preferHigherWeight ? -model.weight : 0,
        model.price === null ? Infinity : Number(model.price.output),
        latencyMs + errorRate * 10_000,
        model.name
      ]
    }
    const { candidates } = rank(models, asked, conditions)
    candidates.slice(1).forEach((model, i) => {
      const before = candidates[i]
      if (before === undefined) return
      const [first, second] = [keys(before), keys(model)]
      const at = first.findIndex((key, k) => key !== second[k])
      assert.isTrue((first[at] ?? "") < (second[at] ?? ""), `${before.name} ${model.name}`)
    })
  })

  it.prop("finds by its index what ranking all models puts first", [drawnModels, DrawnWish], ([drawn, given]) => {
    const { asked, conditions, models } = world(drawn, given)
    assert.strictEqual(best(index(models), asked, conditions)?.name, rank(models, asked, conditions).candidates[0]?.name)
  }, { arbitrary: { runs: 400 } })

  it("finds the first of thousands of models across the blocks of its index", () => {
    const models = Array.from({ length: 1000 }, (_, i) =>
      modelCard(`m${i}`, {
        provider: `p${i % 7}`,
        contextSize: 1000 + ((i * 7919) % 3000),
        weight: (i * 31) % 50,
        price: price(BigInt((i * 37) % 90))
      }))
    const made = index(models)
    const conditions: Conditions = {
      ...always,
      standing: (provider) => provider === "p3" ? "disabled" : "ready",
      health: (model) => ({ ...fine, latencyMs: model.name.length * 100 })
    }
    for (let context = 900; context < 4100; context += 211) {
      for (const limit of [null, 0n, 7n, 40n]) {
        for (const preferHigherWeight of [true, false]) {
          const asked = wish({ policy: { maxRate: limit, minContextSize: context, preferHigherWeight, allowEscalation: true } })
          assert.strictEqual(best(made, asked, conditions)?.name, rank(models, asked, conditions).candidates[0]?.name)
        }
      }
    }
  })

  it("names the first reason in the order of the filters", () => {
    const doomed = modelCard("m", { contextSize: 10, capabilities: new Set(["streaming"]), price: price(5n), enabled: false })
    const asked = wish({
      need: { promptTokens: 100, maxTokens: 100, capabilities: ["tools"] },
      policy: { ...defaultPolicy, maxRate: 1n },
      tried: new Set([doomed.name])
    })
    const conditions: Conditions = { ...healths({ m: { retryAfterMs: 10, reason: "circuit_open" } }), standing: () => "no_credential" }
    const enabled = { ...doomed, enabled: true }
    const able = { ...enabled, capabilities: new Set(["tools"] as const) }
    const wide = { ...able, contextSize: 1000 }
    const cheap = { ...wide, price: price(1n) }
    const ready: Conditions = { ...conditions, standing: () => "ready" }
    assert.strictEqual(reasonOf(doomed, asked, conditions), "disabled")
    assert.strictEqual(reasonOf(enabled, asked, { ...conditions, standing: () => "disabled" }), "disabled")
    assert.strictEqual(reasonOf(enabled, asked, conditions), "no_credential")
    assert.strictEqual(reasonOf(enabled, asked, { ...conditions, standing: () => "vault_locked" }), "vault_locked")
    assert.strictEqual(reasonOf(enabled, asked, ready), "missing_capability")
    assert.strictEqual(reasonOf(able, asked, ready), "context_too_small")
    assert.strictEqual(reasonOf(wide, asked, ready), "too_expensive")
    assert.strictEqual(reasonOf(cheap, asked, ready), "circuit_open")
    assert.strictEqual(reasonOf(cheap, asked, healths({ m: { retryAfterMs: 10, reason: "cooling_down" } })), "cooling_down")
    assert.strictEqual(reasonOf(cheap, asked), "already_tried")
    assert.strictEqual(reasonOf(cheap, { ...asked, tried: new Set() }), undefined)
  })

  it("says in one sentence what was needed and what there is", () => {
    const model = modelCard("m", { contextSize: 150, price: price(20_000_000_000n) })
    assert.strictEqual(
      rank([model], wish(), always).drops[0]?.detail,
      "the request needs about 200 tokens and its context window has 150"
    )
    const asked = wish({ need: { promptTokens: 1, maxTokens: 1, capabilities: [] }, policy: { ...defaultPolicy, maxRate: 10_000_000_000n } })
    assert.strictEqual(
      rank([model], asked, always).drops[0]?.detail,
      "it costs 0.02 $ per 1,000 tokens, and the limit is 0.01 $ per 1,000 tokens"
    )
  })

  it("orders by weight, then cost, then health, then name", () => {
    const models = [
      modelCard("b", { weight: 1, price: price(1n) }),
      modelCard("a", { weight: 1, price: price(1n) }),
      modelCard("slow", { weight: 1, price: price(1n) }),
      modelCard("flaky", { weight: 1, price: price(1n) }),
      modelCard("dear", { weight: 1, price: price(2n) }),
      modelCard("unpriced", { weight: 1, price: null }),
      modelCard("heavy", { weight: 2, price: price(9n) })
    ]
    const conditions = healths({ slow: { latencyMs: 100 }, flaky: { latencyMs: 100, errorRate: 0.1 } })
    assert.deepStrictEqual(names(rank(models, wish(), conditions).candidates), ["heavy", "a", "b", "slow", "flaky", "dear", "unpriced"])
  })

  it("orders by cost alone, whatever the weight, when weight is not preferred", () => {
    const models = [modelCard("heavy", { weight: 9, price: price(3n) }), modelCard("light", { weight: 1, price: price(2n) })]
    const asked = wish({ policy: { ...defaultPolicy, preferHigherWeight: false } })
    assert.deepStrictEqual(names(rank(models, asked, always).candidates), ["light", "heavy"])
    assert.strictEqual(best(index(models), asked, always)?.name, "light")
  })

  it("takes a cost limit of 0 for free models only, not for no limit", () => {
    const models = [
      modelCard("free", { weight: 1, price: price(0n) }),
      modelCard("paid", { price: price(1n) }),
      modelCard("unpriced", { price: null })
    ]
    const asked = wish({ policy: { ...defaultPolicy, maxRate: 0n } })
    const { candidates, drops } = rank(models, asked, always)
    assert.deepStrictEqual(names(candidates), ["free"])
    assert.deepStrictEqual(drops.map((drop) => drop.reason), ["too_expensive", "unpriced"])
    assert.strictEqual(best(index(models), asked, always)?.name, "free")
  })

  it("looks at the blended price where there is one, else at the dearer side", () => {
    const asked = wish({ policy: { ...defaultPolicy, maxRate: 5n } })
    assert.strictEqual(reasonOf(modelCard("split", { price: { input: 1n, output: 6n } }), asked), "too_expensive")
    assert.strictEqual(reasonOf(modelCard("split", { price: { input: 6n, output: 1n } }), asked), "too_expensive")
    assert.strictEqual(reasonOf(modelCard("blended", { price: { input: 1n, output: 6n, blended: 5n } }), asked), undefined)
  })

  it("counts a model's default output where the request sets no limit", () => {
    assert.strictEqual(defaultOutputTokens({ contextSize: 8000, maxOutputTokens: 1000 }), 1000)
    assert.strictEqual(defaultOutputTokens({ contextSize: 8000, maxOutputTokens: 8000 }), 2000)
    assert.strictEqual(defaultOutputTokens({ contextSize: 100_000, maxOutputTokens: null }), 4096)
    const model = modelCard("m", { contextSize: 4000, maxOutputTokens: 1000 })
    const need = (promptTokens: number) => wish({ need: { promptTokens, maxTokens: undefined, capabilities: [] } })
    assert.strictEqual(reasonOf(model, need(3000)), undefined)
    assert.strictEqual(reasonOf(model, need(3001)), "context_too_small")
  })

  it("never lets a model that only makes embeddings chat", () => {
    const model = modelCard("embedder", { capabilities: new Set(["embeddings"]) })
    assert.strictEqual(reasonOf(model, wish()), "missing_capability")
    assert.strictEqual(best(index([model]), wish(), always), undefined)
  })

  it("ranks a model to avoid last, and its provider's other models before it", () => {
    const models = [
      modelCard("planner", { provider: "p", weight: 9 }),
      modelCard("sister", { provider: "p", weight: 8 }),
      modelCard("stranger", { provider: "q", weight: 1 })
    ]
    const asked = wish({ avoid: { model: ModelName.make("planner"), provider: "p" } })
    assert.deepStrictEqual(names(rank(models, asked, always).candidates), ["stranger", "sister", "planner"])
    assert.strictEqual(best(index(models), asked, always)?.name, "stranger")
    assert.strictEqual(best(index(models.slice(0, 2)), asked, always)?.name, "sister")
    assert.strictEqual(best(index(models.slice(0, 1)), asked, always)?.name, "planner")
  })

  it("escalates to a higher weight or a larger context only, and never to one that is too small", () => {
    const failed = modelCard("failed", { weight: 5, contextSize: 1000 })
    const models = [
      failed,
      modelCard("lighter", { weight: 4, contextSize: 1000 }),
      modelCard("heavier-but-tiny", { weight: 9, contextSize: 100 }),
      modelCard("wider", { weight: 1, contextSize: 2000 })
    ]
    const asked = wish({ need: { promptTokens: 500, maxTokens: 100, capabilities: [] }, after: failed })
    const { candidates, drops } = rank(models, asked, always)
    assert.deepStrictEqual(names(candidates), ["wider"])
    assert.deepStrictEqual(drops.map((drop) => drop.reason), ["already_tried", "context_too_small", "not_an_escalation"])
    assert.strictEqual(best(index(models), asked, always)?.name, "wider")
  })

  it("names what stands in the way of one model, cost aside", () => {
    const model = modelCard("m", { contextSize: 150, price: price(10n) })
    const need = { promptTokens: 100, maxTokens: 100, capabilities: [] }
    assert.strictEqual(obstacle(model, need, always)?.reason, "context_too_small")
    assert.strictEqual(obstacle({ ...model, contextSize: 200 }, need, always), undefined)
    assert.deepStrictEqual(obstacle({ ...model, contextSize: 200 }, need, healths({ m: { retryAfterMs: 1500, reason: "cooling_down" } })), {
      model: model.name,
      reason: "cooling_down",
      detail: "it cools down for 2 s",
      retryAfterMs: 1500
    })
  })
})
