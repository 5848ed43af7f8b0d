/** The contract of `POST /v1/chat`: what it takes and what it gives (API.md). */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { ClientAuth } from "../Authentication.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { Idempotent } from "../Idempotency.ts"
import { chatFields, ToolCall } from "../openai/OpenAiChatApi.ts"
import { mostRefinements, Options, Policy } from "../RunOptionsApi.ts"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

// --- the request

export const ChatRequest = Schema.Struct({
  ...chatFields,
  orchestration_mode: optional(described(Schema.String, "\"simple\" (default), \"adversarial\" or another registered mode")),
  planner_model: optional(described(Schema.String, "adversarial: who drafts; absent or \"auto\": the router chooses")),
  critic_model: optional(described(Schema.String, "adversarial: who judges; absent or \"auto\": another model than the planner")),
  enable_refinement: optional(described(Schema.Boolean, "adversarial: whether the planner improves its draft; default false")),
  max_refinement_iterations: optional(
    described(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: mostRefinements })), "Default 1")
  ),
  policy: optional(Policy),
  tokenhub: optional(described(Options, "Its fields win over those of the body; streams of this route always tell their steps"))
}).annotate({
  identifier: "ChatRequest",
  description: "Only messages is required. Fields without a name here are handed on to providers that speak OpenAI's protocol."
})
export type ChatRequest = typeof ChatRequest.Type

// --- the answer

const Usage = Schema.Struct({ prompt_tokens: Schema.Int, completion_tokens: Schema.Int, total_tokens: Schema.Int })

const Dollars = described(Schema.String, "Dollars with nine decimals")

const Attempt = Schema.Struct({
  step: Schema.String,
  model: Schema.String,
  provider: Schema.String,
  outcome: described(Schema.String, "ok, cancelled, or what went wrong"),
  reason: Schema.optionalKey(Schema.String),
  duration_ms: Schema.Int,
  usage: Usage,
  cost_usd: Dollars
})

const FinishReason = Schema.Literals(["stop", "length", "tool_calls", "content_filter", "refusal", "other"])

const Alternative = Schema.Struct({
  response: Schema.String,
  finish_reason: FinishReason,
  tool_calls: Schema.optionalKey(Schema.Array(ToolCall))
})

const Adversarial = Schema.Struct({
  final_response: Schema.String,
  initial_plan: described(Schema.String, "The first draft"),
  critique: described(Schema.NullOr(Schema.String), "The last critique"),
  iterations: described(Schema.Int, "Drafts: the plan and the refinements done"),
  refinements: Schema.Array(Schema.String),
  critiques: Schema.Array(Schema.String)
})

export const ChatAnswer = Schema.Struct({
  id: Schema.String,
  response: Schema.String,
  model: Schema.String,
  provider: Schema.String,
  finish_reason: FinishReason,
  tokens_used: Schema.Int,
  usage: described(Usage, "The sum of every upstream call of the run, failed and discarded ones included"),
  cost_usd: Dollars,
  degraded: described(Schema.NullOr(Schema.String), "Why the answer is less than the mode promises; null: it is not"),
  attempts: described(Schema.Array(Attempt), "Every upstream call in order"),
  tool_calls: Schema.optionalKey(Schema.Array(ToolCall)),
  refusal: Schema.optionalKey(Schema.String),
  reasoning: Schema.optionalKey(Schema.String),
  alternatives: Schema.optionalKey(described(Schema.Array(Alternative), "Where n > 1: the answers beside the first")),
  logprobs: Schema.optionalKey(Schema.Unknown),
  adversarial: Schema.optionalKey(Adversarial)
}).annotate({ identifier: "ChatAnswer" })
export type ChatAnswer = typeof ChatAnswer.Type

const Events = described(
  Schema.String,
  "Named events in this order: run.started; per step step.started, step.delta ({step, text, final}), step.completed ({step, model, "
    + "provider, usage, cost_usd}; none where the step failed and the run goes on without it); last exactly one of run.completed (the whole 200 body) and run.failed (the error)"
).pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

export const chatPath = "/v1/chat"

export const ChatApi = HttpApiGroup.make("chat")
  .add(
    HttpApiEndpoint.post("chat", chatPath, {
      payload: ChatRequest,
      success: [ChatAnswer, Events],
      error: ErrorEnvelope.errors
    }).annotateMerge(OpenApi.annotations({ summary: "One answer, from one model or from several that work on it together" }))
  )
  .middleware(Idempotent)
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "Chat", description: "What clients ask" }))
