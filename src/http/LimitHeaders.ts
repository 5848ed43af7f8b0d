/** The `x-ratelimit-*` headers, as OpenAI's API has them. */
import type { Standings } from "../account/Admission.ts"

/** `"120ms"`, `"6.5s"`, `"1m0s"`. */
const duration = (ms: number): string => {
  if (ms < 1000) return `${Math.ceil(ms)}ms`
  const seconds = Math.ceil(ms / 100) / 10
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.ceil(seconds % 60)}s`
}

/** Adds what is left of each limit that applies. */
export const addLimits = (headers: { [name: string]: string }, { requests, tokens }: Standings): void => {
  if (requests !== undefined) {
    headers["x-ratelimit-limit-requests"] = String(requests.limit)
    headers["x-ratelimit-remaining-requests"] = String(requests.remaining)
    headers["x-ratelimit-reset-requests"] = duration(requests.resetMs)
  }
  if (tokens !== undefined) {
    headers["x-ratelimit-limit-tokens"] = String(tokens.limit)
    headers["x-ratelimit-remaining-tokens"] = String(tokens.remaining)
    headers["x-ratelimit-reset-tokens"] = duration(tokens.resetMs)
  }
}
