/**
 * What a request asks for that a vendor can't do. It is refused by name before anything is sent, never silently left out.
 * Hints that change no answer (cache marks, the end user's name, `strict` on tools) are not asked for here.
 */
import type { ChatRequest, Message, Part } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"

const partPath = (messages: ReadonlyArray<Message>, wanted: (part: Part) => boolean): string | undefined => {
  for (const [at, { content }] of messages.entries()) {
    const found = content.findIndex(wanted)
    if (found >= 0) return `messages[${at}].content[${found}]`
  }
  return undefined
}

const when = (used: boolean, param: string): string | undefined => (used ? param : undefined)

/** By feature: the request's field that asks for it, if one does. */
const features = {
  tools: (r: ChatRequest) => when((r.tools?.length ?? 0) > 0, "tools"),
  serial_tool_calls: (r: ChatRequest) => when(r.parallelToolCalls === false && (r.tools?.length ?? 0) > 0, "parallel_tool_calls"),
  top_k: (r: ChatRequest) => when(r.topK !== undefined, "top_k"),
  seed: (r: ChatRequest) => when(r.seed !== undefined, "seed"),
  choices: (r: ChatRequest) => when((r.n ?? 1) > 1, "n"),
  logprobs: (r: ChatRequest) => when(r.logprobs === true, "logprobs"),
  frequency_penalty: (r: ChatRequest) => when((r.frequencyPenalty ?? 0) !== 0, "frequency_penalty"),
  presence_penalty: (r: ChatRequest) => when((r.presencePenalty ?? 0) !== 0, "presence_penalty"),
  json_object: (r: ChatRequest) => when(r.responseFormat?.type === "json_object", "response_format"),
  json_schema: (r: ChatRequest) => when(r.responseFormat?.type === "json_schema", "response_format"),
  reasoning: (r: ChatRequest) => when(r.reasoning?.effort !== undefined || r.reasoning?.budgetTokens !== undefined, "reasoning_effort"),
  names: (r: ChatRequest) => {
    const at = r.messages.findIndex((message) => message.name !== undefined)
    return when(at >= 0, `messages[${at}].name`)
  },
  images: (r: ChatRequest) => partPath(r.messages, (part) => part.type === "image"),
  audio: (r: ChatRequest) => partPath(r.messages, (part) => part.type === "audio"),
  files: (r: ChatRequest) => partPath(r.messages, (part) => part.type === "file"),
  files_by_url: (r: ChatRequest) => partPath(r.messages, (part) => part.type === "file" && part.source.type === "url")
}

export type Feature = keyof typeof features

/** The refusal of a request that asks for what is lacking; undefined: the vendor can do all of it. */
export const refusal = (request: ChatRequest, lacks: ReadonlyArray<Feature>, vendor: string): ProviderError | undefined => {
  for (const feature of lacks) {
    const param = features[feature](request)
    if (param !== undefined) {
      return new ProviderError({
        fault: "unsupported",
        message: `${param} asks for something that ${vendor} can't do (${feature.replaceAll("_", " ")})`,
        param,
        sent: false
      })
    }
  }
  return undefined
}

/** Thinking tokens that an effort stands for, where a vendor wants a number. */
const budgets: { readonly [effort: string]: number } = { minimal: 1024, low: 2048, medium: 8192, high: 24_576, xhigh: 32_768 }

/** Thinking tokens asked for; undefined: thinking is not asked for, or is switched off. */
export const budgetOf = (reasoning: ChatRequest["reasoning"]): number | undefined =>
  reasoning?.budgetTokens ?? (reasoning?.effort === undefined ? undefined : budgets[reasoning.effort])

/** The effort asked for; a budget counts as the largest effort that it pays for. */
export const effortOf = (reasoning: ChatRequest["reasoning"]): string | undefined => {
  const budget = reasoning?.budgetTokens
  if (reasoning?.effort !== undefined || budget === undefined) return reasoning?.effort
  return budget >= 24_576 ? "high" : budget >= 8192 ? "medium" : "low"
}
