/**
 * The contract of Anthropic's Messages API (version 2023-06-01): `POST /v1/messages` and `/v1/messages/count_tokens`. Content
 * blocks and tools are of many kinds, and new ones come: the frame is checked here, they are looked into by
 * `AnthropicMessagesWire.ts`.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { ClientAuth } from "../Authentication.ts"
import { Idempotent } from "../Idempotency.ts"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

const fraction = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const wholeFrom = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

const AnyObject = Schema.Record(Schema.String, Schema.Unknown)

const Block = Schema.StructWithRest(Schema.Struct({ type: Schema.String }), [AnyObject]).annotate({
  identifier: "AnthropicBlock",
  expected: "a content block, an object with a type",
  description: "text, image, document, tool_use, tool_result, thinking, redacted_thinking; every other kind reaches Anthropic only"
})
export type Block = typeof Block.Type

const Content = Schema.Union([Schema.String, Schema.Array(Block)]).annotate({ expected: "a string or a list of content blocks" })

const Message = Schema.Struct({ role: Schema.Literals(["user", "assistant", "system"]), content: Content }).annotate({
  identifier: "AnthropicMessage"
})
export type Message = typeof Message.Type

const Tool = Schema.StructWithRest(
  Schema.Struct({
    name: optional(Schema.String),
    type: described(optional(Schema.String), "Absent or custom: a tool of the client's own; others are Anthropic's"),
    description: optional(Schema.String),
    input_schema: Schema.optionalKey(described(Schema.Unknown, "JSON Schema of the input")),
    strict: optional(Schema.Boolean)
  }),
  [AnyObject]
).annotate({ identifier: "AnthropicTool" })
export type Tool = typeof Tool.Type

const ToolChoice = Schema.Struct({
  type: Schema.Literals(["auto", "any", "tool", "none"]),
  name: optional(Schema.String),
  disable_parallel_tool_use: optional(Schema.Boolean)
})

const Thinking = Schema.StructWithRest(
  Schema.Struct({ type: described(Schema.String, "enabled, adaptive or disabled"), budget_tokens: optional(wholeFrom(1)) }),
  [AnyObject]
)

const OutputConfig = Schema.StructWithRest(
  Schema.Struct({
    effort: optional(Schema.String),
    format: optional(Schema.Struct({ type: Schema.Literal("json_schema"), schema: AnyObject }))
  }),
  [AnyObject]
)

/** What a prompt is made of: all that counts as input. */
const prompt = {
  model: optional(described(Schema.String, "An exact model, an alias, tokenhub/auto or tokenhub/<mode>; absent: the router chooses")),
  messages: Schema.Array(Message).check(Schema.isMinLength(1)),
  system: optional(Content),
  tools: optional(Schema.Array(Tool)),
  tool_choice: optional(ToolChoice),
  thinking: optional(Thinking),
  output_config: optional(OutputConfig)
}

export const CountTokensRequest = Schema.Struct(prompt).annotate({ identifier: "AnthropicCountTokensRequest" })
export type CountTokensRequest = typeof CountTokensRequest.Type

export const MessagesRequest = Schema.Struct({
  ...prompt,
  max_tokens: wholeFrom(0),
  stop_sequences: optional(Schema.Array(Schema.String)),
  temperature: optional(fraction),
  top_p: optional(fraction),
  top_k: optional(wholeFrom(0)),
  metadata: optional(Schema.Struct({ user_id: optional(Schema.String) })),
  stream: optional(Schema.Boolean),
  tokenhub: Schema.optionalKey(described(Schema.Unknown, "TokenHub's own options, as in the body of /v1/chat"))
}).annotate({
  identifier: "AnthropicMessagesRequest",
  description: "Fields without a name here are handed on to providers that speak Anthropic's protocol."
})
export type MessagesRequest = typeof MessagesRequest.Type

const Usage = Schema.Struct({
  input_tokens: described(Schema.Int, "Without those that a cache gave or took"),
  cache_creation_input_tokens: Schema.NullOr(Schema.Int),
  cache_read_input_tokens: Schema.NullOr(Schema.Int),
  output_tokens: Schema.Int
})

const MessagesAnswer = Schema.Struct({
  id: Schema.String,
  type: Schema.Literal("message"),
  role: Schema.Literal("assistant"),
  model: Schema.String,
  content: Schema.Array(Block),
  stop_reason: Schema.NullOr(Schema.String),
  stop_sequence: Schema.NullOr(Schema.String),
  usage: Usage
}).annotate({ identifier: "AnthropicMessageAnswer" })

const TokenCount = Schema.Struct({ input_tokens: Schema.Int })

const ErrorBody = Schema.Struct({
  type: Schema.Literal("error"),
  error: Schema.Struct({
    type: Schema.String,
    message: Schema.String,
    code: Schema.String,
    param: Schema.NullOr(Schema.String),
    retryable: Schema.Boolean,
    details: Schema.optionalKey(Schema.Unknown)
  }),
  request_id: Schema.String
}).annotate({ identifier: "AnthropicError" })

const errors = [400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504].map((status) => ErrorBody.pipe(HttpApiSchema.status(status)))

const Events = described(
  Schema.String,
  "message_start, then per block content_block_start, content_block_delta and content_block_stop, last message_delta and "
    + "message_stop; or error"
).pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

const messagesPath = "/v1/messages"

export const AnthropicMessagesApi = HttpApiGroup.make("anthropicMessages")
  .add(
    HttpApiEndpoint.post("messages", messagesPath, { payload: MessagesRequest, success: [MessagesAnswer, Events], error: errors })
      .annotateMerge(OpenApi.annotations({ summary: "Anthropic's Messages API, in front of every provider" })),
    HttpApiEndpoint.post("countTokens", `${messagesPath}/count_tokens`, { payload: CountTokensRequest, success: TokenCount, error: errors })
      .annotateMerge(OpenApi.annotations({ summary: "How many input tokens a request has" }))
  )
  .middleware(Idempotent)
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "Anthropic", description: "What Anthropic's SDKs ask" }))
