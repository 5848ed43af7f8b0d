/** What a protocol of embeddings gives, and what an adapter makes of it: the counterpart of `Protocol.ts`. */
import { Effect } from "effect"
import type { Embeddings, Vector } from "../../domain/Embedding.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import { believe } from "../../domain/Usage.ts"
import { answered } from "../Faults.ts"
import type { EmbeddingCall, ProviderAdapter } from "../ProviderAdapter.ts"
import type { Endpoint, UpstreamRequest } from "../Upstream.ts"

/** An answer, read but not yet believed. */
export interface EmbeddingAnswer {
  readonly vectors: ReadonlyArray<unknown>
  readonly upstreamModel: string | undefined
  readonly promptTokens: unknown
  readonly native?: Embeddings["native"]
}

export interface EmbeddingProtocol {
  readonly request: (call: EmbeddingCall) => UpstreamRequest | ProviderError
  readonly answerIn: (call: EmbeddingCall, body: unknown) => EmbeddingAnswer | ProviderError
}

/** The refusal of a field that asks for what the vendor can't do; nothing was sent. */
export const unsupported = (vendor: string, param: string, reason: string): ProviderError =>
  new ProviderError({ fault: "unsupported", message: `${param}: ${vendor} ${reason}`, param, sent: false })

/** What stands for an answer without vectors. */
export const noVectors: ProviderError = answered("malformed_response", "The provider's answer has no list of vectors")

/** Texts only, for vendors that take neither tokens nor the fields of another protocol. */
export const plainTexts = ({ request }: EmbeddingCall, vendor: string): ReadonlyArray<string> | ProviderError => {
  const [foreign] = Object.keys(request.extra?.fields ?? {})
  if (foreign !== undefined && request.dropUnsupported !== true) {
    return unsupported(vendor, foreign, "does not know this field")
  }
  const texts = request.inputs.filter((input) => typeof input === "string")
  return texts.length === request.inputs.length
    ? texts
    : unsupported(vendor, "input", "takes texts, not lists of tokens")
}

const isVector = (value: unknown): value is Vector => typeof value === "string" || Array.isArray(value)

/** The answer, if there is one vector for each input, of the length that was asked for. */
export const embeddingsOf = (call: EmbeddingCall, answer: EmbeddingAnswer): Embeddings | ProviderError => {
  const { dimensions, inputs } = call.request
  const vectors = answer.vectors.filter(isVector)
  if (vectors.length !== inputs.length) {
    return answered("malformed_response", `The provider sent ${vectors.length} vectors for ${inputs.length} inputs`)
  }
  const other = vectors.find((vector) => typeof vector !== "string" && vector.length !== (dimensions ?? vector.length))
  if (other !== undefined) {
    return new ProviderError({
      fault: "unsupported",
      message: `dimensions: the model makes vectors of ${other.length} numbers, not of ${dimensions}`,
      param: "dimensions",
      sent: true
    })
  }
  return {
    vectors,
    upstreamModel: answer.upstreamModel ?? call.upstreamModel,
    usage: believe(
      { promptTokens: answer.promptTokens, completionTokens: 0 },
      { promptTokens: call.estimatedPromptTokens, completionTokens: 0 }
    ),
    ...(answer.native === undefined ? {} : { native: answer.native })
  }
}

/** The adapter's method: what the vendor can't serve is refused before anything is sent. */
export const embedOf = (endpoint: Endpoint, protocol: EmbeddingProtocol): NonNullable<ProviderAdapter["embed"]> => (call) =>
  Effect.suspend(() => {
    const request = protocol.request(call)
    if (request instanceof ProviderError) return Effect.fail(request)
    return Effect.flatMap(endpoint.json(request), (body) => {
      const answer = protocol.answerIn(call, body)
      const embeddings = answer instanceof ProviderError ? answer : embeddingsOf(call, answer)
      return embeddings instanceof ProviderError ? Effect.fail(embeddings) : Effect.succeed(embeddings)
    })
  })
