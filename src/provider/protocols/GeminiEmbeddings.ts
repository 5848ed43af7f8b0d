/** Google's Gemini API (v1beta): batchEmbedContents. */
import { ProviderError } from "../../domain/ProviderError.ts"
import { ofEvent } from "../Faults.ts"
import type { EmbeddingCall } from "../ProviderAdapter.ts"
import type { EmbeddingProtocol } from "./Embeddings.ts"
import { noVectors, plainTexts, unsupported } from "./Embeddings.ts"
import { errors, pathOf, resourceOf } from "./Gemini.ts"
import { isJson, listOf, objectOf, present } from "./Json.ts"

// --- request out

/** "At most 100 requests can be in one batch", as Gemini puts it. */
const mostInputs = 100

const request = (call: EmbeddingCall) => {
  const texts = plainTexts(call, "Gemini")
  if (texts instanceof ProviderError) return texts
  if (texts.length > mostInputs) return unsupported("Gemini", "input", `takes at most ${mostInputs} texts at once`)
  const requests = texts.map((text) =>
    present({
      model: resourceOf(call.upstreamModel),
      content: { parts: [{ text }] },
      outputDimensionality: call.request.dimensions
    })
  )
  return { path: pathOf(call.upstreamModel, "batchEmbedContents"), body: { requests }, apiKey: call.apiKey, errors }
}

// --- answer in

const answerIn: EmbeddingProtocol["answerIn"] = (_, body) => {
  const answer = objectOf(body)
  if (!Array.isArray(answer["embeddings"])) {
    return isJson(answer["error"]) ? ofEvent(errors, body) : noVectors
  }
  return {
    vectors: listOf(answer["embeddings"]).map(({ values }) => values),
    upstreamModel: undefined,
    promptTokens: objectOf(answer["usageMetadata"])["promptTokenCount"]
  }
}

// --- the protocol

export const geminiEmbeddings: EmbeddingProtocol = { request, answerIn }
