/** The contract of `/v1/models`: which models a client may name, as OpenAI's and Anthropic's SDKs ask for them. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { slashedName } from "../admin/AdminWire.ts"
import { ClientAuth } from "../Authentication.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const OpenAiModel = Schema.Struct({
  id: Schema.String,
  object: Schema.Literal("model"),
  created: Schema.Int,
  owned_by: Schema.String.annotate({ description: "The provider; `tokenhub` for a virtual model" })
}).annotate({ identifier: "OpenAiModel" })
export type OpenAiModel = typeof OpenAiModel.Type

const AnthropicModel = Schema.Struct({
  type: Schema.Literal("model"),
  id: Schema.String,
  display_name: Schema.String,
  created_at: Schema.String,
  max_input_tokens: Schema.NullOr(Schema.Int).annotate({ description: "The context window; null for a virtual model" }),
  max_tokens: Schema.NullOr(Schema.Int).annotate({ description: "The most completion tokens, where known" }),
  lifecycle: Schema.Literal("active"),
  capabilities: Schema.Null,
  line: Schema.Null,
  deprecated_at: Schema.Null,
  retires_at: Schema.Null
}).annotate({ identifier: "AnthropicModel" })
export type AnthropicModel = typeof AnthropicModel.Type

const OpenAiList = Schema.Struct({ object: Schema.Literal("list"), data: Schema.Array(OpenAiModel) })

const AnthropicList = Schema.Struct({
  data: Schema.Array(AnthropicModel),
  has_more: Schema.Boolean,
  first_id: Schema.NullOr(Schema.String),
  last_id: Schema.NullOr(Schema.String)
})
export type AnthropicList = typeof AnthropicList.Type

/** Of Anthropic's lists; OpenAI's have one page. */
const Page = Schema.Struct({
  limit: Schema.optionalKey(
    Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 1000 })).annotate({ description: "Default 20" })
  ),
  after_id: Schema.optionalKey(Schema.String),
  before_id: Schema.optionalKey(Schema.String)
})
export type Page = typeof Page.Type

const headers = Schema.Struct({
  "anthropic-version": Schema.optionalKey(Schema.String.annotate({ description: "Any value: the answer is in Anthropic's shape" }))
})

export const ModelListApi = HttpApiGroup.make("modelList")
  .add(
    HttpApiEndpoint.get("list", "/v1/models", { headers, query: Page, success: [OpenAiList, AnthropicList], error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Models, aliases and virtual models that requests may name"),
    HttpApiEndpoint.get("get", "/v1/models/:name/*", {
      headers,
      params: slashedName,
      success: [OpenAiModel, AnthropicModel],
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "One of them")
  )
  .middleware(ClientAuth)
  .annotateMerge(OpenApi.annotations({ title: "Model names", description: "What requests may name" }))
