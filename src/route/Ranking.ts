/**
 * Which models meet a need, in which order, and why the others do not (API.md, Routing): pure functions on plain data.
 * `rank` looks at every model and explains; `best` finds the first of the same order by an index.
 */
import type { CallerRules, Drop, DropReason, Need, Ranking } from "../domain/Candidate.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import { capabilities } from "../domain/Catalog.ts"
import type { ModelName, ProviderName } from "../domain/Ids.ts"
import type { Rate } from "../domain/Money.ts"
import { dollarsPer1k, routingRate } from "../domain/Money.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import type { Health } from "./HealthBoard.ts"

export interface Question {
  readonly need: Need
  readonly policy: RoutingPolicy
  /** Absent: the caller may ask every model. */
  readonly caller?: CallerRules
  /** Left out of the answer: models that this run tried already. */
  readonly tried?: ReadonlySet<ModelName>
  /** Models that the mode would rather not have: they rank after all others (a critic that is the planner). */
  readonly avoid?: { readonly model?: ModelName; readonly provider?: string }
}

/** A question; with `after`, only models of a higher weight or a larger context than that one answer it. */
export interface Wish extends Question {
  readonly after?: ModelCard
}

/** Whether a provider instance can be called, as far as its settings and its key go. */
export type Standing = "ready" | "disabled" | "no_credential" | "vault_locked"

/** What changes from moment to moment; every function answers without I/O. */
export interface Conditions {
  readonly standing: (provider: ProviderName) => Standing
  readonly health: (model: ModelCard) => Health
  /** What the model's own tokenizer will probably make of an estimate, as a factor. */
  readonly tokenRatio: (model: ModelCard) => number
  /** No model's factor is smaller. */
  readonly leastTokenRatio: number
}

/** Where neither the model nor an admin says how long an answer may get. */
const unknownOutputTokens = 4096

/**
 * Completion tokens that a request without `max_tokens` leaves room for: the model's limit, 4,096 where none is known, and
 * never more than a quarter of the context window.
 */
export const defaultOutputTokens = (model: Pick<ModelCard, "contextSize" | "maxOutputTokens">): number =>
  Math.min(model.maxOutputTokens ?? unknownOutputTokens, Math.floor(model.contextSize / 4))

/** Tokens that prompt and completion will need together at this model. `tokenRatio` corrects the estimate of the prompt. */
export const neededTokens = (model: ModelCard, need: Need, tokenRatio: number): number =>
  Math.ceil(need.promptTokens * tokenRatio) + (need.maxTokens ?? defaultOutputTokens(model))

const chatBit = 1 << capabilities.length

const bitsOf = (wanted: Iterable<string>): number => {
  let bits = 0
  for (const capability of wanted) bits |= 1 << capabilities.findIndex((known) => known === capability)
  return bits
}

/** A model that can do nothing but embed does not chat. */
const maskOf = (model: ModelCard): number =>
  bitsOf(model.capabilities) | (model.capabilities.size === 1 && model.capabilities.has("embeddings") ? 0 : chatBit)

/** What is asked for is a completion, unless it is embeddings. */
const wantsChat = (need: Need): boolean => !need.capabilities.includes("embeddings")

const wantedMask = (need: Need): number => bitsOf(need.capabilities) | (wantsChat(need) ? chatBit : 0)

/** A failed call costs its caller about this many milliseconds, so that error rate and latency can be weighed together. */
const failureMs = 10_000

/** Lower is better; 0 for a model of which nothing is known yet, which is therefore tried before those that are slower. */
const burden = (health: Health): number => health.latencyMs + health.errorRate * failureMs

const isAvoided = ({ avoid }: Wish, model: ModelCard): 0 | 1 | 2 =>
  avoid === undefined ? 0 : model.name === avoid.model ? 2 : model.provider === avoid.provider ? 1 : 0

const isStep = (model: ModelCard, after: ModelCard): boolean =>
  model.weight > after.weight || model.contextSize > after.contextSize

const rateOf = (model: ModelCard): Rate | undefined => model.price === null ? undefined : routingRate(model.price)

const byName = (a: ModelCard, b: ModelCard): number => a.name < b.name ? -1 : a.name > b.name ? 1 : 0

/** Unpriced models come last. */
const byRate = (a: Rate | undefined, b: Rate | undefined): number =>
  a === b ? 0 : a === undefined ? 1 : b === undefined ? -1 : a < b ? -1 : 1

const dollars = (rate: Rate): string => `${dollarsPer1k(rate)} $ per 1,000 tokens`

const dropOf = (model: ModelCard) => (reason: DropReason, detail: string): Drop => ({ model: model.name, reason, detail })

const notAllowed = (model: ModelCard, caller: CallerRules | undefined): Drop | undefined =>
  caller === undefined || caller.allows(model) ? undefined : dropOf(model)("not_allowed", "the client key may not use it")

/** Credential, capability and context: what stands in the way of calling this very model, whatever the time. */
const unfit = (model: ModelCard, need: Need, minContextSize: number, conditions: Conditions): Drop | undefined => {
  const drop = dropOf(model)
  const { provider } = model
  if (!model.enabled) return drop("disabled", "the model is disabled")
  switch (conditions.standing(provider)) {
    case "disabled":
      return drop("disabled", `its provider '${provider}' is disabled`)
    case "no_credential":
      return drop("no_credential", `its provider '${provider}' has no API key`)
    case "vault_locked":
      return drop("vault_locked", `the key of its provider '${provider}' lies in the vault, which is locked`)
    case "ready":
      return unable(model, need, minContextSize, conditions)
  }
}

const unable = (model: ModelCard, need: Need, minContextSize: number, conditions: Conditions): Drop | undefined => {
  const drop = dropOf(model)
  if (wantsChat(need) && (maskOf(model) & chatBit) === 0) return drop("missing_capability", "it makes embeddings only")
  const lacking = need.capabilities.filter((capability) => !model.capabilities.has(capability))
  if (lacking.length > 0) return drop("missing_capability", `it lacks ${lacking.join(", ")}`)
  const window = `its context window has ${model.contextSize}`
  const needed = neededTokens(model, need, conditions.tokenRatio(model))
  if (needed > model.contextSize) {
    return drop("context_too_small", `the request needs about ${needed} tokens and ${window}`)
  }
  return minContextSize > model.contextSize
    ? drop("context_too_small", `min_context_size is ${minContextSize} and ${window}`)
    : undefined
}

const tooDear = (model: ModelCard, { caller, policy: { maxRate: limit } }: Question): Drop | undefined => {
  const drop = dropOf(model)
  const rate = rateOf(model)
  if (rate === undefined && caller?.priced === true) return drop("unpriced", "it has no price, and a budget has to pay it")
  if (limit === null) return undefined
  if (rate === undefined) return drop("unpriced", `it has no price, and the limit is ${dollars(limit)}`)
  return rate > limit ? drop("too_expensive", `it costs ${dollars(rate)}, and the limit is ${dollars(limit)}`) : undefined
}

const unwell = (model: ModelCard, health: Health, caller?: CallerRules): Drop | undefined => {
  if (health.retryAfterMs <= 0) {
    const retryAfterMs = caller?.waitMs(model) ?? 0
    if (retryAfterMs <= 0) return undefined
    const detail = `its limit of calls or tokens a minute is used up for ${Math.ceil(retryAfterMs / 1000)} s`
    return { ...dropOf(model)("cooling_down", detail), retryAfterMs, rateLimited: true }
  }
  const { retryAfterMs } = health
  const seconds = Math.ceil(retryAfterMs / 1000)
  const drop = health.reason === "circuit_open"
    ? dropOf(model)("circuit_open", `its circuit is open for ${seconds} s after repeated failures`)
    : dropOf(model)("cooling_down", `it cools down for ${seconds} s`)
  return { ...drop, retryAfterMs, ...(health.rateLimited ? { rateLimited: true } : {}) }
}

const wasTried = (model: ModelCard, { after, tried }: Wish): boolean =>
  tried?.has(model.name) === true || model.name === after?.name

const spent = (model: ModelCard, wish: Wish): Drop | undefined => {
  if (wasTried(model, wish)) return dropOf(model)("already_tried", "this run tried it already")
  const { after } = wish
  return after === undefined || isStep(model, after) ? undefined : dropOf(model)(
    "not_an_escalation",
    `neither its weight ${model.weight} nor its context window ${model.contextSize} is above `
      + `the ${after.weight} and ${after.contextSize} of '${after.name}'`
  )
}

/** Why this very model may not be called now, in the order of the filters, cost and weight aside; undefined: it may. */
export const obstacle = (model: ModelCard, need: Need, conditions: Conditions): Drop | undefined =>
  unfit(model, need, 0, conditions) ?? unwell(model, conditions.health(model))

/** Whether a locked vault is all that keeps this model from meeting the wish. */
export const onlyLocked = (model: ModelCard, wish: Wish, conditions: Conditions): boolean =>
  model.enabled
  && conditions.standing(model.provider) === "vault_locked"
  && (notAllowed(model, wish.caller) ?? unable(model, wish.need, wish.policy.minContextSize, conditions) ?? tooDear(model, wish)
      ?? unwell(model, conditions.health(model), wish.caller) ?? spent(model, wish)) === undefined

/**
 * All candidates, best first, and every drop. The order: models to avoid last (those of the provider to avoid before the
 * very model), then weight (or cost), then cost, then health, then name. The order in which models come does not matter.
 */
export const rank = (models: ReadonlyArray<ModelCard>, wish: Wish, conditions: Conditions): Ranking => {
  const drops: Array<Drop> = []
  const kept: Array<{ model: ModelCard; tier: number; rate: Rate | undefined; burden: number }> = []
  for (const model of models.toSorted(byName)) {
    const health = conditions.health(model)
    const drop = notAllowed(model, wish.caller) ?? unfit(model, wish.need, wish.policy.minContextSize, conditions) ?? tooDear(model, wish)
      ?? unwell(model, health, wish.caller) ?? spent(model, wish)
    if (drop === undefined) kept.push({ model, tier: isAvoided(wish, model), rate: rateOf(model), burden: burden(health) })
    else drops.push(drop)
  }
  kept.sort((a, b) =>
    a.tier - b.tier
    || (wish.policy.preferHigherWeight ? b.model.weight - a.model.weight : 0)
    || byRate(a.rate, b.rate)
    || a.burden - b.burden
    || byName(a.model, b.model)
  )
  return { candidates: kept.map(({ model }) => model), drops }
}

const blockSize = 64

interface Columns {
  readonly mask: Int32Array
  readonly context: Float64Array
  /** Context left for the prompt beside the default output. */
  readonly room: Float64Array
  readonly rate: Float64Array
}

/** Models in one order. */
interface Sorted extends Columns {
  readonly models: ReadonlyArray<ModelCard>
  /** Numbers of `Index.providers`. */
  readonly provider: Int32Array
  /** Numbers the runs of models that only health and name tell apart. */
  readonly group: Int32Array
  /** The extremes of each 64 models. */
  readonly block: Columns
}

/** Enabled models in both orders, made once per change of the models. */
export interface Index {
  readonly providers: ReadonlyArray<ProviderName>
  readonly byWeight: Sorted
  readonly byCost: Sorted
}

const sorted = (
  models: ReadonlyArray<ModelCard>,
  providers: ReadonlyMap<ProviderName, number>,
  compare: (a: ModelCard, b: ModelCard) => number
): Sorted => {
  const ordered = models.toSorted((a, b) => compare(a, b) || byName(a, b))
  const size = ordered.length
  const make = (rows: number): Columns => ({
    mask: new Int32Array(rows),
    context: new Float64Array(rows),
    room: new Float64Array(rows),
    rate: new Float64Array(rows).fill(Infinity)
  })
  const block = make(Math.ceil(size / blockSize))
  const group = new Int32Array(size)
  const columns: Sorted = { models: ordered, provider: new Int32Array(size), group, ...make(size), block }
  let groups = 0
  ordered.forEach((model, i) => {
    const before = ordered[i - 1]
    if (before !== undefined && compare(before, model) !== 0) groups++
    const at = Math.floor(i / blockSize)
    const rate = rateOf(model)
    columns.provider[i] = providers.get(model.provider) ?? 0
    group[i] = groups
    block.mask[at] = (block.mask[at] ?? 0) | (columns.mask[i] = maskOf(model))
    block.context[at] = Math.max(block.context[at] ?? 0, columns.context[i] = model.contextSize)
    block.room[at] = Math.max(block.room[at] ?? 0, columns.room[i] = model.contextSize - defaultOutputTokens(model))
    block.rate[at] = Math.min(block.rate[at] ?? 0, columns.rate[i] = rate === undefined ? Infinity : Number(rate))
  })
  return columns
}

export const index = (models: ReadonlyArray<ModelCard>): Index => {
  const enabled = models.filter((model) => model.enabled)
  const providers = [...new Set(enabled.map((model) => model.provider))]
  const numbers = new Map(providers.map((provider, i) => [provider, i]))
  const rates = new Map(enabled.map((model) => [model, rateOf(model)]))
  const byCost = (a: ModelCard, b: ModelCard) => byRate(rates.get(a), rates.get(b))
  return {
    providers,
    byWeight: sorted(enabled, numbers, (a, b) => b.weight - a.weight || byCost(a, b)),
    byCost: sorted(enabled, numbers, byCost)
  }
}

/**
 * The first candidate of `rank`, or undefined where there is none: a walk down the sorted models that steps over blocks in
 * which nothing can fit, and ends with the group in which it found one.
 */
export const best = (index: Index, wish: Wish, conditions: Conditions): ModelCard | undefined => {
  const { need, policy } = wish
  const sorted = policy.preferHigherWeight ? index.byWeight : index.byCost
  const { block, group, models, provider } = sorted
  const ready = index.providers.map((name) => conditions.standing(name) === "ready")
  const wanted = wantedMask(need)
  const leastPrompt = Math.ceil(need.promptTokens * conditions.leastTokenRatio)
  const leastContext = Math.max(policy.minContextSize, leastPrompt + (need.maxTokens ?? 0))
  const leastRoom = need.maxTokens === undefined ? leastPrompt : -Infinity
  const mostRate = policy.maxRate === null ? Infinity : Number(policy.maxRate)
  const misses = (columns: Columns, i: number) =>
    ((columns.mask[i] ?? 0) & wanted) !== wanted || (columns.context[i] ?? 0) < leastContext
    || (columns.room[i] ?? 0) < leastRoom || (columns.rate[i] ?? 0) > mostRate

  const walk = (tier: number): ModelCard | undefined => {
    let found: ModelCard | undefined
    let foundGroup = -1
    let foundBurden = Infinity
    for (let i = 0; i < models.length; i++) {
      if (i % blockSize === 0 && misses(block, i / blockSize)) {
        i += blockSize - 1
        continue
      }
      if (found !== undefined && group[i] !== foundGroup) return found
      if (misses(sorted, i) || ready[provider[i] ?? 0] !== true) continue
      const model = models[i]
      if (model === undefined || isAvoided(wish, model) !== tier || wasTried(model, wish)) continue
      if (wish.after !== undefined && !isStep(model, wish.after)) continue
      if (neededTokens(model, need, conditions.tokenRatio(model)) > model.contextSize) continue
      if (notAllowed(model, wish.caller) !== undefined || tooDear(model, wish) !== undefined) continue
      const health = conditions.health(model)
      const weighs = burden(health)
      if (weighs >= foundBurden || unwell(model, health, wish.caller) !== undefined) continue
      if (weighs === 0) return model
      found = model
      foundGroup = group[i] ?? -1
      foundBurden = weighs
    }
    return found
  }

  return walk(0) ?? (wish.avoid === undefined ? undefined : walk(1) ?? walk(2))
}
