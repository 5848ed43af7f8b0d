/** The contract of `POST /v1/embeddings`, which is OpenAI's. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { ClientAuth } from "../Authentication.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { Idempotent } from "../Idempotency.ts"
import { Options } from "../RunOptionsApi.ts"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

export const embeddingsPath = "/v1/embeddings"

const Tokens = Schema.Array(Schema.Int)

/** Vectors longer than any model's. */
const mostDimensions = 65_536

const fields = {
  model: optional(described(Schema.String, "A model that makes embeddings; absent or \"auto\": the router chooses")),
  dimensions: optional(
    described(
      Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: mostDimensions })),
      "Numbers in a vector, where the model lets one choose"
    )
  ),
  encoding_format: optional(
    described(Schema.Literals(["float", "base64"]), "Default float; base64 is that of little-endian 32-bit floats")
  ),
  user: optional(Schema.String),
  tokenhub: optional(Options)
}

/** What is checked by schema; the input, which may be long, is looked at by hand (`EmbeddingsWire.ts`). */
export const EmbeddingsFrame = Schema.Struct({ ...fields, input: Schema.Unknown })

const EmbeddingsRequest = Schema.Struct({
  ...fields,
  input: described(
    Schema.Union([Schema.String, Schema.Array(Schema.String), Tokens, Schema.Array(Tokens)]),
    "A text or several; lists of tokens only for providers that take them"
  )
}).annotate({
  identifier: "EmbeddingsRequest",
  description: "Fields without a name here are handed on to providers that speak OpenAI's protocol; others refuse them."
})

const EmbeddingsAnswer = Schema.Struct({
  object: Schema.Literal("list"),
  data: Schema.Array(
    Schema.Struct({
      object: Schema.Literal("embedding"),
      index: Schema.Int,
      embedding: Schema.Union([Schema.Array(Schema.Finite), Schema.String])
    })
  ),
  model: Schema.String,
  usage: Schema.Struct({ prompt_tokens: Schema.Int, total_tokens: Schema.Int })
}).annotate({ identifier: "Embeddings" })

export const EmbeddingsApi = HttpApiGroup.make("embeddings")
  .add(
    HttpApiEndpoint.post("embeddings", embeddingsPath, {
      payload: EmbeddingsRequest,
      success: EmbeddingsAnswer,
      error: ErrorEnvelope.errors
    })
      .middleware(Idempotent)
      .middleware(ClientAuth)
      .annotate(OpenApi.Summary, "Vectors of texts")
      .annotate(
        OpenApi.Description,
        "OpenAI's embeddings. An explicit model never gives way to another, since vectors of different models can't be compared."
      )
  )
