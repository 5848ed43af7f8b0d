/** `POST /v1/embeddings` on the wire: from its JSON to the canonical question, and from the answer to its JSON. */
import { Result, Schema } from "effect"
import type { EmbeddingInput, EmbeddingRequest } from "../../domain/Embedding.ts"
import { encodeVector } from "../../domain/Embedding.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { totalTokens } from "../../domain/Usage.ts"
import type { EmbedRequest, EmbedResult } from "../../orchestrate/Run.ts"
import type { HeaderView } from "../Credentials.ts"
import { EmbeddingsFrame, embeddingsPath } from "./EmbeddingsApi.ts"
import { defined, isRecord } from "../Json.ts"
import { invalidRequest } from "../Route.ts"
import * as RunOptions from "../RunOptions.ts"

type Json = { readonly [name: string]: unknown }

/** The name that provider protocols know this one by. */
const protocol = "openai-embeddings"

/** Fields that TokenHub reads itself; every other one is handed on. */
const ownFields: ReadonlySet<string> = new Set(Object.keys(EmbeddingsFrame.fields))

const decodeFrame = Schema.decodeUnknownResult(EmbeddingsFrame)

/** Embeddings have no modes: whatever names one beside this asks for something else. */
const modes = ["simple"]

export type EmbeddingsCall = Omit<EmbedRequest, "id" | "clientKey">

// --- request in

const isToken = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0

const isInput = (value: unknown): value is EmbeddingInput =>
  typeof value === "string" || (Array.isArray(value) && value.length > 0 && value.every(isToken))

const inputsOf = (input: unknown): ReadonlyArray<EmbeddingInput> | undefined => {
  if (isInput(input)) return [input]
  return Array.isArray(input) && input.length > 0 && input.every(isInput) ? input : undefined
}

const wrongInput = new InvalidRequest({
  message: "input: must be a text, a list of texts, a list of tokens or a list of lists of tokens, and not empty",
  param: "input"
})

const extraOf = (body: Json): Pick<EmbeddingRequest, "extra"> => ({
  extra: { protocol, fields: Object.fromEntries(Object.entries(body).filter(([name]) => !ownFields.has(name))) }
})

/** What a parsed body and its headers ask for, or the first thing that is wrong. */
export const decode = (value: unknown, headers: HeaderView): Result.Result<EmbeddingsCall, InvalidRequest> =>
  Result.flatMap(Result.mapError(decodeFrame(value), invalidRequest), (wire) => {
    const inputs = inputsOf(wire.input)
    if (inputs === undefined) return Result.fail(wrongInput)
    const options = RunOptions.read({ headers, modes, model: wire.model, tokenhub: wire.tokenhub, refinements: 0 })
    return Result.map(options, ({ deadlineMs, dropUnsupported, maxCost, model, policy }) => ({
      endpoint: embeddingsPath,
      model,
      policy,
      ...defined("deadlineMs", deadlineMs),
      ...defined("maxCost", maxCost),
      embedding: {
        inputs,
        encoding: wire.encoding_format ?? "float",
        ...defined("dimensions", wire.dimensions),
        ...defined("user", wire.user),
        ...extraOf(isRecord(value) ? value : {}),
        ...(dropUnsupported ? { dropUnsupported } : {})
      }
    }))
  })

// --- answer out

/** The 200 body: what a provider of the same protocol said beside the vectors stays. */
export const answerOf = ({ embeddings, model, usage }: EmbedResult, { encoding }: EmbeddingRequest): Json => {
  const native = embeddings.native?.protocol === protocol ? embeddings.native.body : {}
  const nativeUsage = isRecord(native["usage"]) ? native["usage"] : {}
  return {
    ...native,
    object: "list",
    data: embeddings.vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: encodeVector(vector, encoding)
    })),
    model,
    usage: { ...nativeUsage, prompt_tokens: usage.promptTokens, total_tokens: totalTokens(usage) }
  }
}
