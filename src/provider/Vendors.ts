/** The table of vendors: a provider is protocol × endpoint × credential × quirks. */
import { Effect, Layer } from "effect"
import type { ProviderType } from "./ProviderAdapter.ts"
import { ProviderTypes } from "./ProviderTypes.ts"
import type { Feature } from "./protocols/Abilities.ts"
import { anthropicMessages } from "./protocols/AnthropicMessages.ts"
import type { EmbeddingProtocol } from "./protocols/Embeddings.ts"
import { embedOf } from "./protocols/Embeddings.ts"
import { gemini } from "./protocols/Gemini.ts"
import { geminiEmbeddings } from "./protocols/GeminiEmbeddings.ts"
import { mock } from "./protocols/Mock.ts"
import type { Quirks } from "./protocols/OpenAiQuirks.ts"
import { openAiChat } from "./protocols/OpenAiChat.ts"
import { openAiQuirks } from "./protocols/OpenAiQuirks.ts"
import type { EmbeddingQuirks } from "./protocols/OpenAiEmbeddings.ts"
import { openAiEmbeddings } from "./protocols/OpenAiEmbeddings.ts"
import { openAiResponses } from "./protocols/OpenAiResponses.ts"
import type { Protocol } from "./protocols/Protocol.ts"
import { adapterOf } from "./protocols/Protocol.ts"
import type { EndpointOptions } from "./Upstream.ts"
import { Upstream } from "./Upstream.ts"

type Credential = EndpointOptions["credential"]

interface Vendor extends Omit<ProviderType, "make"> {
  readonly protocol: Protocol
  /** Absent: the vendor makes no embeddings. */
  readonly embeddings?: EmbeddingProtocol
  readonly credential: Credential
}

const bearer: Credential = { header: "authorization", scheme: "Bearer" }

/** What most vendors that took OpenAI's protocol over have in common. */
const commonQuirks: Quirks = { ...openAiQuirks, maxTokens: "max_tokens", developerRole: false, cacheMark: null, nulls: false }

/** What most of them have in common where they make embeddings. */
const commonEmbeddings: EmbeddingQuirks = { base64: false, dimensions: "dimensions", user: false }

/** OpenAI's own embeddings. */
const openAiVectors: EmbeddingQuirks = { base64: true, dimensions: "dimensions", user: true }

/** A vendor that speaks OpenAI's chat completions; the quirks are its differences from the common ones. */
const compatible = (
  name: string,
  title: string,
  defaultBaseUrl: string | null,
  quirks: Partial<Quirks> = {},
  other: Partial<Pick<Vendor, "credential" | "local" | "needsKey" | "keyVariables">> = {},
  /** The differences of its embeddings; null: it makes none. */
  embeddings: Partial<EmbeddingQuirks> | null = {}
): Vendor => ({
  name,
  defaultBaseUrl,
  needsKey: true,
  local: false,
  credential: bearer,
  ...other,
  protocol: openAiChat(title, { ...commonQuirks, ...quirks }),
  ...(embeddings === null ? {} : { embeddings: openAiEmbeddings({ ...commonEmbeddings, ...embeddings }) })
})

const noMedia: ReadonlyArray<Feature> = ["audio", "files"]
const textOnly: ReadonlyArray<Feature> = ["images", ...noMedia]

/** On one's own machine: no key, and private addresses allowed. */
const local = { local: true, needsKey: false } as const

const vendors: ReadonlyArray<Vendor> = [
  compatible("openai", "OpenAI", "https://api.openai.com/v1", openAiQuirks, {}, openAiVectors),
  {
    name: "openai-responses",
    defaultBaseUrl: "https://api.openai.com/v1",
    needsKey: true,
    local: false,
    keyVariables: ["OPENAI_API_KEY"],
    onRequest: true,
    credential: bearer,
    protocol: openAiResponses,
    embeddings: openAiEmbeddings(openAiVectors)
  },
  {
    name: "anthropic",
    defaultBaseUrl: "https://api.anthropic.com",
    needsKey: true,
    local: false,
    credential: { header: "x-api-key" },
    protocol: anthropicMessages
  },
  {
    name: "gemini",
    defaultBaseUrl: "https://generativelanguage.googleapis.com",
    needsKey: true,
    local: false,
    keyVariables: ["GOOGLE_API_KEY"],
    credential: { header: "x-goog-api-key" },
    protocol: gemini,
    embeddings: geminiEmbeddings
  },
  compatible("azure-openai", "Azure OpenAI", null, openAiQuirks, { credential: { header: "api-key" } }, openAiVectors),
  compatible("mistral", "Mistral", "https://api.mistral.ai/v1", {
    lacks: ["top_k", "logprobs", "files", "reasoning", "names", "prefill"],
    seed: "random_seed",
    streamOptions: false,
    user: false,
    callIds: { pattern: /^[a-zA-Z0-9]{9}$/, longest: 9 }
  }, {}, { dimensions: "output_dimension" }),
  compatible("groq", "Groq", "https://api.groq.com/openai/v1", {
    lacks: ["top_k", "logprobs", "choices", ...noMedia],
    maxTokens: "max_completion_tokens"
  }, {}, null),
  compatible("deepseek", "DeepSeek", "https://api.deepseek.com/v1", {
    lacks: ["top_k", "seed", "choices", "json_schema", "serial_tool_calls", "prefill", ...textOnly],
    reasoningBack: "reasoning_content",
    user: false
  }, {}, null),
  compatible("together", "Together", "https://api.together.xyz/v1", { lacks: ["logprobs", ...noMedia], user: false }),
  compatible("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", {
    lacks: ["choices", "files_by_url"],
    cacheMark: "cache_control",
    reasoning: "reasoning",
    reasoningBack: "reasoning_details"
  }),
  compatible("xai", "xAI", "https://api.x.ai/v1", { lacks: ["top_k", "prefill", ...noMedia] }, {}, null),
  compatible("fireworks", "Fireworks", "https://api.fireworks.ai/inference/v1", { lacks: noMedia }),
  compatible("perplexity", "Perplexity", "https://api.perplexity.ai", {
    lacks: ["tools", "choices", "seed", "logprobs", "audio", "files", "prefill"],
    streamOptions: false,
    user: false,
    modelsPath: null
  }, {}, null),
  compatible("cerebras", "Cerebras", "https://api.cerebras.ai/v1", {
    lacks: ["top_k", "choices", "frequency_penalty", "presence_penalty", ...textOnly],
    maxTokens: "max_completion_tokens"
  }, {}, null),
  compatible("nvidia", "NVIDIA", "https://integrate.api.nvidia.com/v1", { lacks: ["top_k", "choices", ...noMedia], user: false }),
  compatible("cohere", "Cohere", "https://api.cohere.ai/compatibility/v1", {
    lacks: ["top_k", "choices", "logprobs", "serial_tool_calls", ...noMedia],
    user: false
  }),
  compatible("ollama", "Ollama", "http://127.0.0.1:11434/v1", { lacks: ["top_k", "choices", "logprobs", ...noMedia] }, local),
  compatible("vllm", "vLLM", "http://127.0.0.1:8000/v1", { lacks: ["files"] }, local, { base64: true }),
  compatible("lm-studio", "LM Studio", "http://127.0.0.1:1234/v1", { lacks: ["choices", ...noMedia] }, local),
  compatible("openai-compatible", "the provider", null, { lacks: [] }, { needsKey: false })
]

const mockType: ProviderType = {
  name: "mock",
  defaultBaseUrl: "",
  needsKey: false,
  local: true,
  make: () => Effect.succeed(mock)
}

const typeOf = (upstream: Upstream["Service"]) => ({ credential, embeddings, protocol, ...type }: Vendor): ProviderType => ({
  ...type,
  make: (card) =>
    Effect.map(
      upstream.endpoint({ card, baseUrl: card.baseUrl ?? type.defaultBaseUrl ?? "", local: type.local, credential }),
      (endpoint) => ({
        ...adapterOf(endpoint, protocol),
        ...(embeddings === undefined ? {} : { embed: embedOf(endpoint, embeddings) })
      })
    )
})

/** Registers every vendor of the table. */
export const layer: Layer.Layer<never, never, ProviderTypes | Upstream> = Layer.unwrap(
  Effect.map(Upstream, (upstream) => ProviderTypes.layerRegister(mockType, ...vendors.map(typeOf(upstream))))
)
