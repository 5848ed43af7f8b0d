/** In what vendors that took OpenAI's chat completions over depart from OpenAI. */
import type { Feature } from "./Abilities.ts"
import type { CallIds } from "./CallId.ts"

/** How a vendor departs from OpenAI. */
export interface Quirks {
  readonly lacks: ReadonlyArray<Feature>
  readonly maxTokens: "max_tokens" | "max_completion_tokens"
  readonly seed: "seed" | "random_seed"
  /** A stream brings usage only where `stream_options` asks for it. */
  readonly streamOptions: boolean
  /** Knows the role `developer`; else it becomes `system`. */
  readonly developerRole: boolean
  /** Takes `user`, the end user's name. */
  readonly user: boolean
  /** The field of parts that marks what to cache; null: the vendor has none and caches by itself. */
  readonly cacheMark: "cache_control" | "prompt_cache_breakpoint" | null
  readonly reasoning: "reasoning_effort" | "reasoning"
  /** The field in which an assistant's thoughts go back: beside tool calls, or with their signatures; null: they don't. */
  readonly reasoningBack: "reasoning_content" | "reasoning_details" | null
  readonly callIds: CallIds
  /** Takes null for a field that is absent. */
  readonly nulls: boolean
  /** null: the vendor has no list of models. */
  readonly modelsPath: string | null
}

export const openAiQuirks: Quirks = {
  lacks: ["top_k", "files_by_url", "prefill"],
  maxTokens: "max_completion_tokens",
  seed: "seed",
  streamOptions: true,
  developerRole: true,
  user: true,
  cacheMark: "prompt_cache_breakpoint",
  reasoning: "reasoning_effort",
  reasoningBack: null,
  callIds: { pattern: /^[^]{1,40}$/, longest: 40 },
  nulls: true,
  modelsPath: "/models"
}
