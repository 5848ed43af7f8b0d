/** The `x-ratelimit-*` headers, as OpenAI's API has them. Pure functions. */
import type { Standings } from "../account/Admission.ts"
import type { Standing } from "../account/RateLimits.ts"

/** `"120ms"`, `"6.5s"`, `"1m0s"`. */
const duration = (ms: number): string => {
  if (ms < 1000) return `${Math.ceil(ms)}ms`
  const seconds = Math.ceil(ms / 100) / 10
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.ceil(seconds % 60)}s`
}

const headersOf = (name: "requests" | "tokens", standing: Standing | undefined): { readonly [header: string]: string } =>
  standing === undefined ? {} : {
    [`x-ratelimit-limit-${name}`]: String(standing.limit),
    [`x-ratelimit-remaining-${name}`]: String(standing.remaining),
    [`x-ratelimit-reset-${name}`]: duration(standing.resetMs)
  }

/** Nothing where no limit applies. */
export const limitHeaders = ({ requests, tokens }: Standings): { readonly [header: string]: string } => ({
  ...headersOf("requests", requests),
  ...headersOf("tokens", tokens)
})
