/** Tokens that one upstream call, or a sum of calls, used. Counts are whole and never negative. */
export interface Usage {
  /** All prompt tokens, those read from or written to a cache included. */
  readonly promptTokens: number
  /** Of the prompt tokens, those read from the provider's cache. */
  readonly cachedTokens: number
  /** Of the prompt tokens, those written to the provider's cache. */
  readonly cacheWriteTokens: number
  /** All completion tokens, reasoning included. */
  readonly completionTokens: number
  /** Of the completion tokens, those spent on reasoning. */
  readonly reasoningTokens: number
  /** True where the provider's figures were missing or senseless and TokenHub's estimate stands in. */
  readonly estimated: boolean
}

export const zero: Usage = {
  promptTokens: 0,
  cachedTokens: 0,
  cacheWriteTokens: 0,
  completionTokens: 0,
  reasoningTokens: 0,
  estimated: false
}

export const add = (a: Usage, b: Usage): Usage => ({
  promptTokens: a.promptTokens + b.promptTokens,
  cachedTokens: a.cachedTokens + b.cachedTokens,
  cacheWriteTokens: a.cacheWriteTokens + b.cacheWriteTokens,
  completionTokens: a.completionTokens + b.completionTokens,
  reasoningTokens: a.reasoningTokens + b.reasoningTokens,
  estimated: a.estimated || b.estimated
})

export const totalTokens = (usage: Usage): number => usage.promptTokens + usage.completionTokens

/** What a provider reported, field by field, before anyone believed it. */
export type ReportedUsage = { readonly [K in Exclude<keyof Usage, "estimated">]?: unknown }

const largest = 1e9

const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 && value <= largest ? Math.floor(value) : undefined

/**
 * Believes a provider's figures where they make sense (FAULTS.md row 41): a missing, zero, negative, non-finite or absurd
 * prompt or completion count is replaced by the estimate and marked; parts are cut to their whole.
 */
export const believe = (reported: ReportedUsage | undefined, estimate: { promptTokens: number; completionTokens: number }): Usage => {
  const prompt = count(reported?.promptTokens) || undefined
  const completion = count(reported?.completionTokens)
  const missing = completion === undefined || (completion === 0 && estimate.completionTokens > 0)
  const promptTokens = prompt ?? estimate.promptTokens
  const completionTokens = missing ? estimate.completionTokens : completion
  const cachedTokens = Math.min(count(reported?.cachedTokens) ?? 0, promptTokens)
  return {
    promptTokens,
    cachedTokens,
    cacheWriteTokens: Math.min(count(reported?.cacheWriteTokens) ?? 0, promptTokens - cachedTokens),
    completionTokens,
    reasoningTokens: Math.min(count(reported?.reasoningTokens) ?? 0, completionTokens),
    estimated: prompt === undefined || missing
  }
}

/** A rough count where no figure is to be had: four characters a token, as the vendors' own rules of thumb say for English. */
export const tokensOfLength = (characters: number): number => Math.ceil(characters / 4)
