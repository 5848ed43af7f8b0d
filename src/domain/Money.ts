/**
 * Money is a whole number of nano-dollars, never a float. Prices are nano-dollars per million tokens; one price of
 * 0.01 $ per 1,000 tokens is 10,000,000,000.
 */
import type { Usage } from "./Usage.ts"

/** Nano-dollars. */
export type NanoDollars = bigint

/** Nano-dollars per million tokens. */
export type Rate = bigint

export interface Rates {
  readonly input: Rate
  readonly output: Rate
  /** Prompt tokens read from the provider's cache; absent: as `input`. */
  readonly cachedInput?: Rate
  /** Prompt tokens written to the provider's cache; absent: as `input`. */
  readonly cacheWrite?: Rate
}

export interface Price extends Rates {
  /** One rate for all tokens, where the admin gave `cost_per_1k_tokens`; the cost filter looks at it before the split rates. */
  readonly blended?: Rate
  /** Rates for long prompts, ascending; the last tier whose `fromPromptTokens` the prompt reaches prices the whole call. */
  readonly tiers?: ReadonlyArray<Rates & { readonly fromPromptTokens: number }>
}

const tokensPerRate = 1_000_000n

const ratesFor = (price: Price, promptTokens: number): Rates =>
  price.tiers?.findLast((tier) => promptTokens >= tier.fromPromptTokens) ?? price

/** What a call costs, rounded up once to a whole nano-dollar. */
export const costOf = (price: Price | null, usage: Usage): NanoDollars => {
  if (price === null) return 0n
  const rates = ratesFor(price, usage.promptTokens)
  const plain = Math.max(0, usage.promptTokens - usage.cachedTokens - usage.cacheWriteTokens)
  const total = BigInt(plain) * rates.input
    + BigInt(usage.cachedTokens) * (rates.cachedInput ?? rates.input)
    + BigInt(usage.cacheWriteTokens) * (rates.cacheWrite ?? rates.input)
    + BigInt(usage.completionTokens) * rates.output
  return (total + tokensPerRate - 1n) / tokensPerRate
}

const dearest = (rates: Rates): Rate =>
  [rates.output, rates.cachedInput ?? 0n, rates.cacheWrite ?? 0n].reduce((a, b) => (a > b ? a : b), rates.input)

/** The most that a call of this size can cost: every token at the dearest rate of its side and tier. */
export const ceilingOf = (price: Price | null, promptTokens: number, completionTokens: number): NanoDollars => {
  if (price === null) return 0n
  return [price, ...(price.tiers ?? [])].reduce((most, rates) => {
    const input = dearest({ ...rates, output: 0n })
    const total = BigInt(promptTokens) * input + BigInt(completionTokens) * rates.output
    const cost = (total + tokensPerRate - 1n) / tokensPerRate
    return cost > most ? cost : most
  }, 0n)
}

/** The rate that the router's cost filter and cost order look at: the blended one, else the dearer side. */
export const routingRate = (price: Price): Rate =>
  price.blended ?? (price.input > price.output ? price.input : price.output)

/** Dollars per 1,000 tokens, as in the HTTP contract, to a rate. The caller has checked that it is finite and not negative. */
export const rateFromDollarsPer1k = (dollars: number): Rate => BigInt(Math.round(dollars * 1e12))

/** A rate to dollars per 1,000 tokens. */
export const dollarsPer1k = (rate: Rate): number => Number(rate) / 1e12

/** `"0.0044"` is `4400000n`; undefined: no amount of dollars, or more than nine decimals. At most a billion dollars. */
export const parseUsd = (text: string): NanoDollars | undefined => {
  const match = /^(\d{1,9})(?:\.(\d{1,9}))?$/.exec(text)
  return match === null ? undefined : BigInt(match[1] ?? "0") * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"))
}

/** `4400000n` is `"0.004400000"`: dollars with nine decimals. */
export const formatUsd = (amount: NanoDollars): string => {
  const digits = (amount < 0n ? -amount : amount).toString().padStart(10, "0")
  return `${amount < 0n ? "-" : ""}${digits.slice(0, -9)}.${digits.slice(-9)}`
}
