/** Models on the wire: an admin's fields to a card, and a card to what is shown. Pure functions. */
import { Result } from "effect"
import type { ModelCard } from "../../domain/Catalog.ts"
import type { Price } from "../../domain/Money.ts"
import { dollarsPer1k, rateFromDollarsPer1k, routingRate } from "../../domain/Money.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { defaultCapabilities } from "../../route/Catalogue.ts"
import { defined } from "../Json.ts"
import type { ModelChanges, NewModel } from "./ModelsApi.ts"

type PriceFields = Pick<ModelChanges, "cost_per_1k_tokens" | "input_cost_per_1k" | "output_cost_per_1k" | "cached_input_cost_per_1k">

type PriceField = keyof PriceFields

const missing = (param: PriceField, beside: PriceField): Result.Result<never, InvalidRequest> =>
  Result.fail(new InvalidRequest({ message: `${param}: must be given beside ${beside}, since no price is known`, param }))

/**
 * The price that an admin's fields make, dollars per 1,000 tokens. `base` is what holds where a side is not given: the present
 * price, or the catalogue's. One price for all tokens stands for both sides that are not given beside it; a side that is given
 * replaces the catalogue's tiers and cache prices, since those belong to the price it replaces.
 */
export const priceOf = (given: PriceFields, base: Price | null): Result.Result<Price | null, InvalidRequest> => {
  const rate = (field: PriceField) => {
    const dollars = given[field]
    return dollars === undefined || dollars === null ? undefined : rateFromDollarsPer1k(dollars)
  }
  const blended = rate("cost_per_1k_tokens")
  const input = rate("input_cost_per_1k")
  const output = rate("output_cost_per_1k")
  const cachedInput = rate("cached_input_cost_per_1k")
  const cached = cachedInput === undefined ? {} : { cachedInput }
  if (blended !== undefined) return Result.succeed({ input: input ?? blended, output: output ?? blended, blended, ...cached })
  const rest = given.cost_per_1k_tokens === null ? null : base
  if (input === undefined && output === undefined) {
    if (cachedInput === undefined) return Result.succeed(rest)
    return rest === null ? missing("input_cost_per_1k", "cached_input_cost_per_1k") : Result.succeed({ ...rest, ...cached })
  }
  const inputRate = input ?? rest?.input
  const outputRate = output ?? rest?.output
  if (inputRate === undefined) return missing("input_cost_per_1k", "output_cost_per_1k")
  if (outputRate === undefined) return missing("output_cost_per_1k", "input_cost_per_1k")
  return Result.succeed({ input: inputRate, output: outputRate, ...cached })
}

/** A new model; what is not given comes from the catalogue where that knows it. */
export const newCard = (
  given: NewModel,
  known: Pick<ModelCard, "maxOutputTokens" | "price" | "capabilities"> | undefined
): Result.Result<ModelCard, InvalidRequest> =>
  Result.map(priceOf(given, known?.price ?? null), (price): ModelCard => ({
    name: given.name,
    provider: given.provider,
    upstreamName: given.upstream_name ?? given.name,
    contextSize: given.context_size,
    maxOutputTokens: given.max_output_tokens === undefined ? known?.maxOutputTokens ?? null : given.max_output_tokens,
    weight: given.weight,
    price,
    capabilities: given.capabilities === undefined ? known?.capabilities ?? defaultCapabilities : new Set(given.capabilities),
    aliases: [...new Set(given.aliases ?? [])],
    ...defined("rpm", given.rpm),
    ...defined("tpm", given.tpm),
    enabled: given.enabled ?? true,
    source: "admin"
  }))

/** A card with the given fields changed; from then on it is the admin's. */
export const changedCard = (card: ModelCard, given: ModelChanges): Result.Result<ModelCard, InvalidRequest> =>
  Result.map(priceOf(given, card.price), (price): ModelCard => ({
    name: card.name,
    provider: given.provider ?? card.provider,
    upstreamName: given.upstream_name ?? card.upstreamName,
    contextSize: given.context_size ?? card.contextSize,
    maxOutputTokens: given.max_output_tokens === undefined ? card.maxOutputTokens : given.max_output_tokens,
    weight: given.weight ?? card.weight,
    price,
    capabilities: given.capabilities === undefined ? card.capabilities : new Set(given.capabilities),
    aliases: given.aliases === undefined ? card.aliases : [...new Set(given.aliases)],
    ...defined("rpm", given.rpm === undefined ? card.rpm : given.rpm),
    ...defined("tpm", given.tpm === undefined ? card.tpm : given.tpm),
    enabled: given.enabled ?? card.enabled,
    source: "admin"
  }))

/** What the router compares, dollars per 1,000 tokens; null: unpriced. */
export const costOf = ({ price }: ModelCard): number | null => (price === null ? null : dollarsPer1k(routingRate(price)))

export const shownModel = (card: ModelCard) => ({
  name: card.name,
  provider: card.provider,
  upstream_name: card.upstreamName,
  context_size: card.contextSize,
  max_output_tokens: card.maxOutputTokens,
  weight: card.weight,
  cost_per_1k_tokens: costOf(card),
  input_cost_per_1k: card.price === null ? null : dollarsPer1k(card.price.input),
  output_cost_per_1k: card.price === null ? null : dollarsPer1k(card.price.output),
  cached_input_cost_per_1k: card.price?.cachedInput === undefined ? null : dollarsPer1k(card.price.cachedInput),
  capabilities: [...card.capabilities].toSorted(),
  aliases: card.aliases,
  rpm: card.rpm ?? null,
  tpm: card.tpm ?? null,
  enabled: card.enabled,
  source: card.source
})
