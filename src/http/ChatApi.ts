/** The contract of `POST /v1/chat`: what it takes and what it gives (API.md). */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { ClientAuth } from "./Authentication.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

const between = (minimum: number, maximum: number) => Schema.Finite.check(Schema.isBetween({ minimum, maximum }))
const wholeBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const wholeFrom = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

// --- messages

const TextPart = Schema.Struct({
  type: Schema.Literal("text"),
  text: Schema.String,
  cache_control: Schema.optionalKey(Schema.Unknown)
})

const RefusalPart = Schema.Struct({ type: Schema.Literal("refusal"), refusal: Schema.String })

const ImagePart = Schema.Struct({
  type: Schema.Literal("image_url"),
  image_url: Schema.Struct({
    url: described(Schema.String, "An https URL, or a data URL with base64"),
    detail: optional(Schema.String)
  }),
  cache_control: Schema.optionalKey(Schema.Unknown)
})

const AudioPart = Schema.Struct({
  type: Schema.Literal("input_audio"),
  input_audio: Schema.Struct({ data: described(Schema.String, "Base64"), format: Schema.String })
})

const FilePart = Schema.Struct({
  type: Schema.Literal("file"),
  file: Schema.Struct({
    file_data: described(Schema.String, "A data URL with base64, or an https URL"),
    filename: optional(Schema.String)
  }),
  cache_control: Schema.optionalKey(Schema.Unknown)
})

const ToolCall = Schema.Struct({
  id: Schema.String,
  type: Schema.Literal("function"),
  function: Schema.Struct({
    name: Schema.String,
    arguments: described(Schema.String, "JSON text, as the model wrote it")
  })
})

/** A string, or a list of these parts. */
const content = <P extends ReadonlyArray<Schema.Constraint>>(types: string, ...parts: P) =>
  Schema.Union([Schema.String, Schema.Array(Schema.Union(parts).annotate({ expected: `a part whose type is ${types}` }))]).annotate({
    expected: "a string or a list of parts"
  })

const name = optional(Schema.String)

/** One literal a member: the decoder then finds the member by its role and complains of that one only. */
const instructions = <R extends string>(role: R) => Schema.Struct({ role: Schema.Literal(role), content: content("text", TextPart), name })

const UserMessage = Schema.Struct({
  role: Schema.Literal("user"),
  content: content("text, image_url, input_audio or file", TextPart, ImagePart, AudioPart, FilePart),
  name
})

const AssistantMessage = Schema.Struct({
  role: Schema.Literal("assistant"),
  content: optional(content("text or refusal", TextPart, RefusalPart)),
  refusal: optional(Schema.String),
  tool_calls: optional(Schema.Array(ToolCall)),
  name
})

const ToolMessage = Schema.Struct({
  role: Schema.Literal("tool"),
  content: content("text or image_url", TextPart, ImagePart),
  tool_call_id: Schema.String
})

const Message = Schema.Union([
  instructions("system"),
  instructions("developer"),
  UserMessage,
  AssistantMessage,
  ToolMessage
]).annotate({ identifier: "Message", expected: "a message whose role is system, developer, user, assistant or tool" })
export type Message = typeof Message.Type

// --- the request

export const Policy = Schema.Struct({
  max_cost_per_1k_tokens: optional(
    described(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 })), "Dollars; 0 means free models only")
  ),
  min_context_size: optional(wholeFrom(0)),
  prefer_higher_weight: optional(described(Schema.Boolean, "Default true; false: the lowest cost first")),
  allow_escalation: optional(described(Schema.Boolean, "Default true"))
}).annotate({ identifier: "RoutingPolicy" })

const mostRefinements = 10

/** The `tokenhub` object that any `/v1` body may carry; its fields win over those of the body. */
export const Options = Schema.Struct({
  mode: optional(Schema.String),
  policy: optional(Policy),
  planner: optional(Schema.String),
  critic: optional(Schema.String),
  refinements: optional(wholeBetween(0, mostRefinements)),
  deadline_ms: optional(described(wholeFrom(1), "Milliseconds that the run may take")),
  events: optional(described(Schema.Boolean, "Streams of this route always tell their steps"))
}).annotate({ identifier: "TokenHubOptions" })

const Tool = Schema.Struct({
  type: Schema.Literal("function"),
  function: Schema.Struct({
    name: Schema.String,
    description: optional(Schema.String),
    parameters: Schema.optionalKey(described(Schema.Unknown, "JSON Schema of the arguments")),
    strict: optional(Schema.Boolean)
  })
})

const ToolChoice = Schema.Union([
  Schema.Literals(["auto", "none", "required"]),
  Schema.Struct({ type: Schema.Literal("function"), function: Schema.Struct({ name: Schema.String }) })
])

const ResponseFormat = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text") }),
  Schema.Struct({ type: Schema.Literal("json_object") }),
  Schema.Struct({
    type: Schema.Literal("json_schema"),
    json_schema: Schema.Struct({
      name: Schema.String,
      schema: Schema.optionalKey(Schema.Unknown),
      strict: optional(Schema.Boolean),
      description: optional(Schema.String)
    })
  })
]).annotate({ expected: "an object whose type is text, json_object or json_schema" })

export const ChatRequest = Schema.Struct({
  messages: Schema.Array(Message).check(Schema.isMinLength(1)),
  model: optional(described(Schema.String, "An exact model or an alias; absent or \"auto\": the router chooses")),
  orchestration_mode: optional(described(Schema.String, "\"simple\" (default), \"adversarial\" or another registered mode")),
  planner_model: optional(described(Schema.String, "adversarial: who drafts")),
  critic_model: optional(described(Schema.String, "adversarial: who judges; absent: another model than the planner")),
  enable_refinement: optional(described(Schema.Boolean, "adversarial: whether the planner improves its draft; default false")),
  max_refinement_iterations: optional(described(wholeBetween(0, mostRefinements), "Default 1")),
  policy: optional(Policy),
  tokenhub: optional(Options),
  stream: optional(described(Schema.Boolean, "True: server-sent events")),
  stream_options: Schema.optionalKey(Schema.Unknown),
  max_tokens: optional(wholeFrom(1)),
  max_completion_tokens: optional(described(wholeFrom(1), "Another name of max_tokens")),
  temperature: optional(between(0, 2)),
  top_p: optional(between(0, 1)),
  top_k: optional(wholeFrom(0)),
  stop: optional(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  seed: optional(Schema.Int),
  frequency_penalty: optional(between(-2, 2)),
  presence_penalty: optional(between(-2, 2)),
  logprobs: optional(Schema.Boolean),
  top_logprobs: optional(wholeBetween(0, 20)),
  n: optional(wholeBetween(1, 128)),
  tools: optional(Schema.Array(Tool)),
  tool_choice: optional(ToolChoice),
  parallel_tool_calls: optional(Schema.Boolean),
  response_format: optional(ResponseFormat),
  reasoning_effort: optional(Schema.String),
  user: optional(Schema.String)
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
    + "provider, usage, cost_usd}); last exactly one of run.completed (the whole 200 body) and run.failed (the error)"
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
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "Chat", description: "What clients ask" }))
