/**
 * The contract of OpenAI's Responses API. Items and tools are of many kinds, and new ones come: the frame is checked here, they
 * are looked into by `OpenAiResponsesInput.ts`.
 */
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
const wholeFrom = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

const AnyObject = Schema.Record(Schema.String, Schema.Unknown)

// --- the request

const Item = Schema.StructWithRest(
  Schema.Struct({ type: optional(Schema.String), role: optional(Schema.String) }),
  [AnyObject]
).annotate({
  identifier: "ResponseInputItem",
  expected: "an item, an object with a type or a role",
  description: "message (input_text, input_image, input_file, output_text, refusal), function_call, function_call_output, "
    + "reasoning, item_reference; every other kind reaches OpenAI's Responses API only"
})

const Tool = Schema.StructWithRest(
  Schema.Struct({
    type: Schema.String,
    name: optional(Schema.String),
    description: optional(Schema.String),
    parameters: Schema.optionalKey(described(Schema.Unknown, "JSON Schema of the arguments")),
    strict: optional(Schema.Boolean)
  }),
  [AnyObject]
).annotate({
  identifier: "ResponseTool",
  expected: "a tool, an object with a type",
  description: "function; OpenAI's own tools are served by providers of the type openai-responses only"
})
export type Tool = typeof Tool.Type

const ToolChoice = Schema.Union([
  Schema.Literals(["auto", "none", "required"]),
  Schema.StructWithRest(Schema.Struct({ type: Schema.String, name: optional(Schema.String) }), [AnyObject])
]).annotate({ expected: "auto, none, required, or an object with a type" })

const Format = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text") }),
  Schema.Struct({ type: Schema.Literal("json_object") }),
  Schema.Struct({
    type: Schema.Literal("json_schema"),
    name: Schema.String,
    schema: Schema.Unknown,
    strict: optional(Schema.Boolean),
    description: optional(Schema.String)
  })
]).annotate({ expected: "an object whose type is text, json_object or json_schema" })
export type Format = typeof Format.Type

export const ResponseRequest = Schema.Struct({
  input: Schema.optionalKey(
    Schema.Union([Schema.String, Schema.Array(Item)]).annotate({ expected: "a string or a list of items" })
  ),
  model: optional(described(Schema.String, "An exact model or an alias; absent or \"auto\": the router chooses")),
  instructions: optional(described(Schema.String, "A system message before the input; not carried on by previous_response_id")),
  tools: optional(Schema.Array(Tool)),
  tool_choice: optional(ToolChoice),
  parallel_tool_calls: optional(Schema.Boolean),
  text: optional(Schema.Struct({ format: optional(Format), verbosity: optional(Schema.String) })),
  reasoning: optional(
    Schema.Struct({
      effort: optional(Schema.String),
      summary: optional(described(Schema.String, "Providers of other protocols show what they show of their thoughts"))
    })
  ),
  max_output_tokens: optional(wholeFrom(1)),
  temperature: optional(between(0, 2)),
  top_p: optional(between(0, 1)),
  top_logprobs: optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))),
  metadata: optional(described(AnyObject, "Comes back with the answer")),
  user: optional(Schema.String),
  store: optional(
    described(
      Schema.Boolean,
      "Default false. True: the answer and the conversation, prompts included, are kept for 30 days in TokenHub's database, not "
        + "encrypted, because the client asked for it; only the same client key sees them. Nothing is stored at OpenAI"
    )
  ),
  previous_response_id: optional(
    described(Schema.String, "Goes on from a response that was kept with store: true; any other is a 404")
  ),
  include: optional(
    described(Schema.Array(Schema.String), "message.output_text.logprobs; reasoning.encrypted_content comes in any case")
  ),
  truncation: optional(Schema.Literals(["auto", "disabled"])),
  background: optional(described(Schema.Literal(false), "Responses are not made in the background")),
  conversation: optional(Schema.Never.annotate({ message: "is not supported; use previous_response_id" })),
  stream: optional(described(Schema.Boolean, "True: server-sent events")),
  tokenhub: optional(Options)
}).annotate({
  identifier: "ResponseRequest",
  description: "Fields without a name here reach OpenAI's Responses API as they are, and no other provider"
})
export type ResponseRequest = typeof ResponseRequest.Type

// --- the answer

const Usage = Schema.Struct({
  input_tokens: Schema.Int,
  input_tokens_details: Schema.Struct({ cached_tokens: Schema.Int, cache_write_tokens: Schema.Int }),
  output_tokens: Schema.Int,
  output_tokens_details: Schema.Struct({ reasoning_tokens: Schema.Int }),
  total_tokens: Schema.Int
})

const Response = Schema.StructWithRest(
  Schema.Struct({
    id: Schema.String,
    object: Schema.Literal("response"),
    created_at: described(Schema.Finite, "Unix seconds"),
    status: Schema.Literals(["in_progress", "completed", "incomplete", "failed"]),
    model: Schema.String,
    output: described(Schema.Array(AnyObject), "Items: message, function_call, reasoning"),
    usage: Schema.NullOr(Usage)
  }),
  [AnyObject]
).annotate({ identifier: "Response" })

const Deleted = Schema.Struct({ id: Schema.String, object: Schema.Literal("response"), deleted: Schema.Literal(true) })

const Events = described(
  Schema.String,
  "OpenAI's typed events, from response.created to exactly one of response.completed, response.incomplete and response.failed"
).pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

const responsesPath = "/v1/responses"

const id = { id: Schema.String }

export const OpenAiResponsesApi = HttpApiGroup.make("responses")
  .add(
    HttpApiEndpoint.post("create", responsesPath, {
      payload: ResponseRequest,
      success: [Response, Events],
      error: ErrorEnvelope.errors
    })
      .middleware(Idempotent)
      .annotate(OpenApi.Summary, "One answer, in the shape of OpenAI's Responses API"),
    HttpApiEndpoint.get("get", `${responsesPath}/:id`, { params: id, success: Response, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "A response that was kept with store: true"),
    HttpApiEndpoint.delete("remove", `${responsesPath}/:id`, { params: id, success: Deleted, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Deletes a kept response; conversations that went on from it stay")
  )
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "OpenAI responses", description: "For clients of OpenAI's Responses API" }))
