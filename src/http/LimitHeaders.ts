/** The `x-ratelimit-*` headers, as OpenAI's API has them. */
import type { Standings } from "../account/Admission.ts"

/** `"120ms"`, `"6.5s"`, `"1m0s"`. */
const duration = (ms: number): string => {
  if (ms < 1000) return `${Math.ceil(ms)}ms`
  const seconds = Math.ceil(ms / 100) / 10
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.ceil(seconds % 60)}s`
}

const namesOf = (unit: keyof Standings) =>
  ({ limit: `x-ratelimit-limit-${unit}`, remaining: `x-ratelimit-remaining-${unit}`, reset: `x-ratelimit-reset-${unit}` })

const names = { requests: namesOf("requests"), tokens: namesOf("tokens") }

const units = ["requests", "tokens"] as const

/** Adds what is left of each limit that applies. */
export const addLimits = (headers: { [name: string]: string }, standings: Standings): void => {
  for (const unit of units) {
    const standing = standings[unit]
    if (standing === undefined) continue
    const { limit, remaining, reset } = names[unit]
    headers[limit] = String(standing.limit)
    headers[remaining] = String(standing.remaining)
    headers[reset] = duration(standing.resetMs)
  }
}
