/** OpenAI's chat completions as clients speak them: messages, tools, parameters and answers. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { ClientAuth } from "../Authentication.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { Idempotent } from "../Idempotency.ts"
import { Options } from "../RunOptionsApi.ts"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

const between = (minimum: number, maximum: number) => Schema.Finite.check(Schema.isBetween({ minimum, maximum }))
const wholeBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const wholeFrom = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

// --- messages

const cacheMarks = {
  cache_control: Schema.optionalKey(Schema.Unknown),
  prompt_cache_breakpoint: Schema.optionalKey(Schema.Unknown)
}

const TextPart = Schema.Struct({
  type: Schema.Literal("text"),
  text: Schema.String,
  ...cacheMarks
})

const RefusalPart = Schema.Struct({ type: Schema.Literal("refusal"), refusal: Schema.String })

const ImagePart = Schema.Struct({
  type: Schema.Literal("image_url"),
  image_url: Schema.Struct({
    url: described(Schema.String, "An https URL, or a data URL with base64"),
    detail: optional(Schema.String)
  }),
  ...cacheMarks
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
  ...cacheMarks
})

export const ToolCall = Schema.Struct({
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

const ReasoningDetail = Schema.Struct({
  type: described(Schema.String, "reasoning.text, reasoning.encrypted or reasoning.summary; any other is left out"),
  text: optional(Schema.String),
  summary: optional(Schema.String),
  signature: optional(Schema.String),
  data: optional(Schema.String),
  id: optional(Schema.String),
  format: optional(described(Schema.String, "Whose thought it is, in OpenRouter's words; absent: Anthropic's"))
}).annotate({
  identifier: "ReasoningDetail",
  description: "A thought with the signature of its vendor, which wants it back beside the tool calls that it led to"
})

const AssistantMessage = Schema.Struct({
  role: Schema.Literal("assistant"),
  content: optional(content("text or refusal", TextPart, RefusalPart)),
  refusal: optional(Schema.String),
  tool_calls: optional(Schema.Array(ToolCall)),
  reasoning_content: optional(described(Schema.String, "What the model thought, as an earlier answer gave it")),
  reasoning_details: optional(Schema.Array(ReasoningDetail)),
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

/** The fields that `POST /v1/chat` has too. */
export const chatFields = {
  messages: Schema.Array(Message).check(Schema.isMinLength(1)),
  model: optional(described(Schema.String, "A model, an alias or a virtual model; absent or \"auto\": the router chooses")),
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
}

/** Messages and parameters, of which every protocol that took them over has the same idea. */
export const ChatFields = Schema.Struct(chatFields)
export type ChatFields = typeof ChatFields.Type

const ChatCompletionRequest = Schema.Struct({ ...chatFields, tokenhub: optional(Options) }).annotate({
  identifier: "ChatCompletionRequest",
  description: "Fields without a name here, and other kinds of parts, tools and calls, are handed on to providers that speak this protocol."
})

// --- the answer

const Usage = Schema.Struct({
  prompt_tokens: Schema.Int,
  completion_tokens: Schema.Int,
  total_tokens: Schema.Int,
  prompt_tokens_details: Schema.Struct({ cached_tokens: Schema.Int }),
  completion_tokens_details: Schema.Struct({ reasoning_tokens: Schema.Int })
})

const ChatCompletion = Schema.Struct({
  id: Schema.String,
  object: Schema.Literal("chat.completion"),
  created: described(Schema.Int, "Unix seconds"),
  model: Schema.String,
  choices: Schema.Array(Schema.Struct({
    index: Schema.Int,
    message: Schema.Struct({
      role: Schema.Literal("assistant"),
      content: Schema.NullOr(Schema.String),
      refusal: Schema.NullOr(Schema.String),
      reasoning_content: Schema.optionalKey(Schema.String),
      reasoning_details: Schema.optionalKey(Schema.Array(ReasoningDetail)),
      tool_calls: Schema.optionalKey(Schema.Array(ToolCall))
    }),
    logprobs: Schema.NullOr(Schema.Unknown),
    finish_reason: Schema.Literals(["stop", "length", "tool_calls", "content_filter"])
  })),
  usage: described(Usage, "The sum of every upstream call of the run")
}).annotate({
  identifier: "ChatCompletion",
  description: "Where the provider speaks this protocol and the mode is direct, its own answer as it came."
})

const Chunks = described(Schema.String, "Chunks of OpenAI's protocol, then `[DONE]`; an error after the first chunk is a chunk with `error`, and no `[DONE]`")
  .pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

export const OpenAiChatApi = HttpApiGroup.make("openaiChat")
  .add(
    HttpApiEndpoint.post("completions", "/v1/chat/completions", {
      payload: ChatCompletionRequest,
      success: [ChatCompletion, Chunks],
      error: ErrorEnvelope.errors
    }).annotateMerge(OpenApi.annotations({ summary: "OpenAI's chat completions, from any model of any provider" }))
  )
  .middleware(Idempotent)
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "OpenAI chat completions", description: "For clients of OpenAI's chat completions" }))
