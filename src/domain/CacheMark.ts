/** Prompt caching marks, which the canonical form keeps as the client wrote them: Anthropic's `{type}`, OpenAI's `{mode}`. */

type Mark = { readonly [name: string]: unknown }

const isMark = (value: unknown): value is Mark => typeof value === "object" && value !== null

/** Whether OpenAI's API has such a mark (`prompt_cache_breakpoint`). */
export const isBreakpoint = (mark: unknown): boolean => isMark(mark) && mark["mode"] !== undefined

/** The mark in Anthropic's words (`cache_control`). Its longest time is an hour. */
export const toCacheControl = (mark: unknown): unknown =>
  isMark(mark) && isBreakpoint(mark) ? { type: "ephemeral", ...(mark["ttl"] === "12h" ? { ttl: "1h" } : {}) } : mark
