/** OpenAI's embeddings, as OpenAI and the vendors that took them over speak them. */
import type { EmbeddingRequest } from "../../domain/Embedding.ts"
import { ofEvent } from "../Faults.ts"
import type { EmbeddingCall } from "../ProviderAdapter.ts"
import type { EmbeddingProtocol } from "./Embeddings.ts"
import { noVectors } from "./Embeddings.ts"
import type { Json } from "./Json.ts"
import { isJson, listOf, numberOf, objectOf, present, stringOf } from "./Json.ts"
import { errors } from "./OpenAiChat.ts"

// --- wire types

/** The vendor's name of the client protocol whose extra fields this one takes. */
const protocol = "openai-embeddings"

/** How a vendor departs from OpenAI. */
export interface EmbeddingQuirks {
  /** Gives vectors as base64 where asked to; else it is not asked, and gives numbers. */
  readonly base64: boolean
  readonly dimensions: "dimensions" | "output_dimension"
  /** Takes `user`, the end user's name. */
  readonly user: boolean
}

// --- request out

const isTheirs = ({ extra }: EmbeddingRequest): boolean => extra?.protocol === protocol

const bodyOut = ({ request, upstreamModel }: EmbeddingCall, quirks: EmbeddingQuirks): Json =>
  present({
    ...(isTheirs(request) ? request.extra?.fields : {}),
    model: upstreamModel,
    input: request.inputs,
    [quirks.dimensions]: request.dimensions,
    encoding_format: quirks.base64 ? request.encoding : undefined,
    user: quirks.user ? request.user : undefined
  })

// --- answer in

/** In the order of their numbers, where they have one. */
const sorted = (data: ReadonlyArray<Json>): ReadonlyArray<Json> =>
  data.toSorted((a, b) => (numberOf(a["index"]) ?? 0) - (numberOf(b["index"]) ?? 0))

const answerIn: EmbeddingProtocol["answerIn"] = ({ request }, body) => {
  const answer = objectOf(body)
  if (!Array.isArray(answer["data"])) {
    return isJson(answer["error"]) ? ofEvent(errors, body) : noVectors
  }
  return {
    vectors: sorted(listOf(answer["data"])).map((item) => item["embedding"]),
    upstreamModel: stringOf(answer["model"]),
    promptTokens: objectOf(answer["usage"])["prompt_tokens"],
    ...(isTheirs(request) ? { native: { protocol, body: answer } } : {})
  }
}

// --- the protocol

export const openAiEmbeddings = (quirks: EmbeddingQuirks): EmbeddingProtocol => ({
  request: (call) => ({ path: "/embeddings", body: bodyOut(call, quirks), apiKey: call.apiKey, errors }),
  answerIn
})
