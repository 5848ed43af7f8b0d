/** What `POST /v1/chat` gives back: the 200 body of a run, and the events of one that is streamed. */
import type { Delta, Part } from "../../domain/Chat.ts"
import { textOf, toolCallsOf } from "../../domain/Chat.ts"
import type { RequestId } from "../../domain/Ids.ts"
import { formatUsd } from "../../domain/Money.ts"
import type { Usage } from "../../domain/Usage.ts"
import { totalTokens } from "../../domain/Usage.ts"
import type { RunEvent, RunResult } from "../../orchestrate/Run.ts"
import type { ChatAnswer } from "./ChatApi.ts"
import type { WireEvent } from "../Door.ts"
import type { Failure } from "../ErrorEnvelope.ts"
import { bodyOf } from "../ErrorEnvelope.ts"
import { named } from "../EventStream.ts"
import { defined } from "../Json.ts"

// --- answer out

const usageOf = (usage: Usage) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: totalTokens(usage)
})

const toolCalls = (content: ReadonlyArray<Part>): Pick<ChatAnswer, "tool_calls"> => {
  const calls = toolCallsOf(content)
  return calls.length === 0
    ? {}
    : { tool_calls: calls.map(({ arguments: json, id, name }) => ({ id, type: "function", function: { name, arguments: json } })) }
}

/** The texts of the parts of one type, joined; undefined: there are none. */
const joined = (content: ReadonlyArray<Part>, type: "refusal" | "reasoning"): string | undefined => {
  const texts = content.flatMap((part) => (part.type === type ? [part.text] : []))
  return texts.length === 0 ? undefined : texts.join("")
}

/** The 200 body. */
export const answerOf = ({ attempts, completion, cost, degraded, details, id, model, provider, usage }: RunResult): ChatAnswer => ({
  id,
  response: textOf(completion.content),
  model,
  provider,
  finish_reason: completion.finishReason,
  tokens_used: totalTokens(usage),
  usage: usageOf(usage),
  cost_usd: formatUsd(cost),
  degraded,
  attempts: attempts.map((attempt) => ({
    step: attempt.step,
    model: attempt.model,
    provider: attempt.provider,
    outcome: attempt.outcome,
    ...defined("reason", attempt.reason),
    duration_ms: attempt.durationMs,
    usage: usageOf(attempt.usage),
    cost_usd: formatUsd(attempt.cost)
  })),
  ...toolCalls(completion.content),
  ...defined("refusal", joined(completion.content, "refusal")),
  ...defined("reasoning", joined(completion.content, "reasoning")),
  ...defined("alternatives", completion.alternatives?.map(({ content, finishReason }) => ({
    response: textOf(content),
    finish_reason: finishReason,
    ...toolCalls(content)
  }))),
  ...defined("logprobs", completion.logprobs),
  ...details
})

// --- stream out

export const started = (id: RequestId, mode: string): WireEvent => named("run.started", { id, mode })

const deltaOf = (delta: Delta): { readonly [name: string]: unknown } => {
  switch (delta.type) {
    case "text":
      return { text: delta.text }
    case "reasoning":
      return { reasoning: delta.text }
    case "refusal":
      return { refusal: delta.text }
    case "tool_call": {
      const { arguments: json, id, index, name } = delta
      return { tool_call: { index, ...defined("id", id), ...defined("name", name), arguments: json } }
    }
  }
}

/** What this door tells of a run's event; undefined: nothing. */
export const eventOf = (event: RunEvent): WireEvent | undefined => {
  switch (event.type) {
    case "call.started":
    case "step.frame":
      return undefined
    case "step.started":
      return named(event.type, { step: event.step })
    case "step.delta":
      return named(event.type, { step: event.step, ...deltaOf(event.delta), final: event.final })
    case "step.completed": {
      const { cost, model, provider, usage } = event.result
      return named(event.type, { step: event.step, model, provider, usage: usageOf(usage), cost_usd: formatUsd(cost) })
    }
  }
}

export const completed = (result: RunResult): WireEvent => named("run.completed", answerOf(result))

export const failed = (failure: Failure, id: RequestId): WireEvent => named("run.failed", bodyOf(failure, id))
