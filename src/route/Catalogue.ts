/**
 * What is known of the big vendors' models. Prices per kind of token come from @pydantic/genai-prices (its bundled data only);
 * output limits, capabilities and what is superseded or retired come from llm-zoo. Both are read at the first need: parsing
 * them takes about 90 ms, which a start without such a provider does not pay.
 */
import type { ModelInfo, ModelPrice, Provider } from "@pydantic/genai-prices"
import { Effect } from "effect"
import type { ModelConfig } from "llm-zoo"
import type { Capability, ModelCard } from "../domain/Catalog.ts"
import { capabilities } from "../domain/Catalog.ts"
import type { Price, Rate, Rates } from "../domain/Money.ts"
import { routingRate } from "../domain/Money.ts"

/** What the catalogue says of one model, whatever provider instance serves it. */
export type CatalogueEntry = Pick<
  ModelCard,
  "upstreamName" | "contextSize" | "maxOutputTokens" | "weight" | "price" | "capabilities" | "source"
>

export interface Catalogue {
  /** The current chat and embedding models of a provider type, sorted by name; none for a type that the catalogue does not know. */
  readonly models: (providerType: string) => ReadonlyArray<CatalogueEntry>
  /** What is known of any model of a provider type, legacy ones and dated names included. */
  readonly describe: (providerType: string, upstreamName: string) => CatalogueEntry | undefined
}

interface Vendor {
  /** The vendor's id in genai-prices. */
  readonly prices: string
  /** The vendor's id in llm-zoo; `openrouter` reads the models' OpenRouter names; absent: llm-zoo does not know it. */
  readonly facts?: string
  /** False: customers name the deployments, so that nothing can be listed, only described. */
  readonly listed?: false
  /** What no model can do over the vendor's API. */
  readonly lacks?: ReadonlyArray<Capability>
  /** Context windows that genai-prices lacks, from the vendor's own list of models. */
  readonly contexts?: { readonly [model: string]: number }
  /** Embedding models, with the most tokens that one text may have, from the vendor's own list; llm-zoo has none of them. */
  readonly embeddings?: { readonly [model: string]: number }
  /** True: lists the models that only the Responses API serves. */
  readonly responses?: true
}

const openAiEmbeddings = { "text-embedding-3-large": 8192, "text-embedding-3-small": 8192 }

/** By provider type, in the order in which default instances claim a name that several of them have. */
const vendors: { readonly [providerType: string]: Vendor } = {
  openai: { prices: "openai", facts: "openai", embeddings: openAiEmbeddings },
  anthropic: { prices: "anthropic", facts: "anthropic" },
  gemini: { prices: "google", facts: "google", embeddings: { "gemini-embedding-001": 2048, "gemini-embedding-2": 8192 } },
  mistral: {
    prices: "mistral",
    contexts: { "mistral-medium-latest": 131_072, "mistral-small-latest": 131_072 },
    embeddings: { "mistral-embed": 8192 }
  },
  deepseek: { prices: "deepseek", facts: "deepseek", lacks: ["json_schema", "vision"] },
  xai: { prices: "x-ai", facts: "xai" },
  groq: {
    prices: "groq",
    contexts: {
      "llama-3.1-8b-instant": 131_072,
      "llama-3.3-70b-versatile": 131_072,
      "meta-llama/llama-4-scout-17b-16e-instruct": 131_072
    }
  },
  together: {
    prices: "together",
    contexts: {
      "meta-llama/Llama-3.3-70B-Instruct-Turbo": 131_072,
      "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8": 1_048_576,
      "meta-llama/Llama-4-Scout-17B-16E-Instruct": 1_048_576,
      "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo": 131_072
    }
  },
  cerebras: { prices: "cerebras", lacks: ["vision"] },
  perplexity: { prices: "perplexity", lacks: ["tools"] },
  openrouter: { prices: "openrouter", facts: "openrouter" },
  "azure-openai": { prices: "azure", facts: "openai", listed: false, embeddings: openAiEmbeddings },
  "openai-responses": { prices: "openai", facts: "openai", responses: true }
}

const order = Object.keys(vendors)

/** Where a provider type stands in the order of claims to a name; types without a catalogue come last. */
export const precedenceOf = (providerType: string): number => {
  const at = order.indexOf(providerType)
  return at === -1 ? order.length : at
}

/** Whether the catalogue has models of this provider type. */
export const covers = (providerType: string): boolean => Object.hasOwn(vendors, providerType)

/** What a model can do of which nothing is known: all but embeddings. */
export const defaultCapabilities: ReadonlySet<Capability> = new Set(capabilities.filter((name) => name !== "embeddings"))

const free: Price = { input: 0n, output: 0n }

/** The mock answers in words, whatever schema is asked for. */
const mockCapabilities: ReadonlySet<Capability> = new Set([...defaultCapabilities].filter((name) => name !== "json_schema"))

/** What a model can do that is made for nothing else. */
const embeddingsOnly: ReadonlySet<Capability> = new Set(["embeddings"])

const mockModel = (upstreamName: string, contextSize: number, weight: number, able = mockCapabilities): CatalogueEntry => ({
  upstreamName,
  contextSize,
  maxOutputTokens: null,
  weight,
  price: free,
  capabilities: able,
  source: "mock"
})

/** The models of a provider that was made because there was none: free, one small, one large, and one for embeddings. */
export const mockModels: ReadonlyArray<CatalogueEntry> = [
  mockModel("mock-embedding", 8_192, 10, embeddingsOnly),
  mockModel("mock-large", 131_072, 20),
  mockModel("mock-small", 8_192, 10)
]

/** Dollars per million tokens to nano-dollars per million tokens. */
const rate = (dollars: number): Rate => BigInt(Math.round(dollars * 1e9))

type Tokens = "input_mtok" | "output_mtok" | "cache_read_mtok" | "cache_write_mtok"

/** The dollars of a kind of token in a prompt of this many; genai-prices applies a tier above its start. */
const dollarsAt = (prices: ModelPrice, kind: Tokens, promptTokens: number): number | undefined => {
  const value = prices[kind]
  return typeof value === "object"
    ? value.tiers.findLast((tier) => promptTokens > tier.start)?.price ?? value.base
    : value
}

/** `noOutput` is the price of output where the list has none. */
const ratesAt = (prices: ModelPrice, promptTokens: number, noOutput?: number): Rates | undefined => {
  const input = dollarsAt(prices, "input_mtok", promptTokens)
  const output = dollarsAt(prices, "output_mtok", promptTokens) ?? noOutput
  if (input === undefined || output === undefined) return undefined
  const cachedInput = dollarsAt(prices, "cache_read_mtok", promptTokens)
  const cacheWrite = dollarsAt(prices, "cache_write_mtok", promptTokens)
  return {
    input: rate(input),
    output: rate(output),
    ...(cachedInput === undefined ? {} : { cachedInput: rate(cachedInput) }),
    ...(cacheWrite === undefined ? {} : { cacheWrite: rate(cacheWrite) })
  }
}

/** Undefined where input or output has no price, save for models whose name says that they are free. */
const priceOf = (id: string, prices: ModelPrice): Price | undefined => {
  const base = ratesAt(prices, 0)
  if (base === undefined) return id.endsWith(":free") && Object.keys(prices).length === 0 ? free : undefined
  const starts = new Set(
    Object.values(prices).flatMap((value) => typeof value === "object" ? value.tiers.map((tier) => tier.start) : [])
  )
  const tiers = [...starts].toSorted((a, b) => a - b).flatMap((start) => {
    const rates = ratesAt(prices, start + 1)
    return rates === undefined ? [] : [{ ...rates, fromPromptTokens: start + 1 }]
  })
  return tiers.length === 0 ? base : { ...base, tiers }
}

/** Nano-dollars per million tokens of the dearer side, and the weight of a model up to there. */
const priceClasses: ReadonlyArray<readonly [upTo: Rate, weight: number]> = [
  [1_500_000_000n, 10],
  [7_500_000_000n, 20],
  [15_000_000_000n, 30],
  [60_000_000_000n, 40]
]
const beyondClasses = 5
const currentGeneration = 50

/**
 * Price class + generation: 10, 20, 30 or 40 by the dearer side of the price (up to 1.5, 7.5, 15, 60 $ per million tokens),
 * 5 for what is dearer still, so that such a model serves only requests that name it or fit nothing else; plus 50 where
 * llm-zoo does not list the model as superseded. So the current generation's strongest models lead, and an admin's 100 leads
 * them all.
 */
export const weightOf = (price: Price, current: boolean): number =>
  (priceClasses.find(([upTo]) => routingRate(price) <= upTo)?.[1] ?? beyondClasses) + (current ? currentGeneration : 0)

/** What llm-zoo says of a model, its variants (with and without reasoning) taken together. */
interface Facts {
  readonly contextSize: number
  readonly maxOutputTokens: number
  readonly superseded: boolean
  /** Served no more. */
  readonly retired: boolean
  /** Not served by chat completions. */
  readonly responsesOnly: boolean
  readonly able: ReadonlySet<Capability>
}

/** llm-zoo says nothing of JSON Schema; vendors that have the mode have it for the models that call tools. */
const ableTo = ({ capabilities: can }: ModelConfig): ReadonlyArray<Capability> => [
  "streaming",
  ...(can.supportsFunctionCalling ? ["tools" as const, "json_schema" as const] : []),
  ...(can.supportsVision ? ["vision" as const] : []),
  ...(can.supportsReasoning ? ["reasoning" as const] : [])
]

const factsOf = (variants: ReadonlyArray<ModelConfig>): Facts => ({
  contextSize: Math.min(...variants.map((variant) => variant.contextWindow)),
  maxOutputTokens: Math.min(...variants.map((variant) => variant.maxOutputTokens)),
  superseded: variants.every((variant) => variant.deprecated === true),
  retired: variants.every((variant) => variant.retired === true),
  responsesOnly: variants.every((variant) => variant.requiresResponsesAPI === true),
  able: new Set(variants.flatMap(ableTo))
})

interface Described extends CatalogueEntry {
  readonly facts: Facts | undefined
}

/** Names that stand for no chat model, and OpenRouter's batch offers and moving aliases. */
const notChat = new RegExp(
  "embed|moderation|whisper|transcri|tts|audio|voice|voxtral|realtime|-live|ocr|image|guard|safety|rerank|search|:batch$|^~",
  "i"
)

/** Embedding models bill their input only. */
const embeddingEntry = (upstreamName: string, contextSize: number, prices: ModelPrice): Described | undefined => {
  const price = ratesAt(prices, 0, 0)
  return price && {
    upstreamName,
    contextSize,
    maxOutputTokens: null,
    weight: weightOf(price, true),
    price,
    capabilities: embeddingsOnly,
    source: "catalogue",
    facts: undefined
  }
}

const make = (
  configs: ReadonlyArray<ModelConfig>,
  find: (id: string) => Provider | undefined,
  match: (provider: Provider, model: string) => { readonly model: ModelInfo; readonly prices: ModelPrice } | undefined
): Catalogue => {
  // Premium variants of a model share its name; they are asked for by fields of the request.
  const standard = configs.filter(({ capabilities, serviceTier }) =>
    serviceTier === undefined && capabilities.reasoningMode === undefined)
  const known = new Map<string, Map<string, Array<ModelConfig>>>()
  const learn = (vendor: string, name: string, config: ModelConfig) => {
    const models = known.get(vendor) ?? new Map<string, Array<ModelConfig>>()
    known.set(vendor, models.set(name, [...(models.get(name) ?? []), config]))
  }
  for (const config of standard) {
    if (config.openrouterFullName !== undefined) learn("openrouter", config.openrouterFullName, config)
    if (config.openRouterOnly) continue
    for (const name of new Set([config.shortName, config.fullName])) learn(config.provider, name, config)
  }

  const entry = (vendor: Vendor, model: string, provider = find(vendor.prices)): Described | undefined => {
    const matched = provider === undefined ? undefined : match(provider, model)
    const longestText = vendor.embeddings?.[model]
    if (longestText !== undefined) return matched && embeddingEntry(model, longestText, matched.prices)
    const price = matched === undefined ? undefined : priceOf(model, matched.prices)
    const models = vendor.facts === undefined ? undefined : known.get(vendor.facts)
    const variants = models?.get(model) ?? models?.get(matched?.model.id ?? "")
    const facts = variants === undefined ? undefined : factsOf(variants)
    const contextSize = vendor.contexts?.[model] ?? matched?.model.context_window ?? facts?.contextSize
    if (price === undefined || contextSize === undefined) return undefined
    const able = facts === undefined ? defaultCapabilities : facts.able
    return {
      upstreamName: model,
      contextSize,
      maxOutputTokens: facts?.maxOutputTokens ?? null,
      weight: weightOf(price, facts !== undefined && !facts.superseded),
      price,
      capabilities: new Set([...able].filter((name) => vendor.lacks?.includes(name) !== true)),
      source: "catalogue",
      facts
    }
  }

  const withoutFacts = ({ facts: _, ...rest }: Described): CatalogueEntry => rest

  /** A maker's models are those that both sources know; of others the price list's, under ids that name themselves. */
  const list = (vendor: Vendor): ReadonlyArray<CatalogueEntry> => {
    const provider = find(vendor.prices)
    if (provider === undefined || vendor.listed === false) return []
    const maker = vendor.facts !== undefined && vendor.facts !== "openrouter"
    const made = standard.filter((config) => config.provider === vendor.facts && !config.openRouterOnly)
    const sold = provider.models.filter((model) =>
      model.deprecated !== true && (model.context_window ?? vendor.contexts?.[model.id]) !== undefined)
    const offers: ReadonlyArray<readonly [name: string, provider: Provider]> = maker
      ? [...new Set(made.map((config) => config.shortName))].map((name) => [name, provider])
      // One model at a time: matching an id against hundreds takes a fifth of a millisecond.
      : sold.map((model) => [model.id, { ...provider, models: [model] }])
    const chat = offers.filter(([name]) => !notChat.test(name))
    const embeddings = Object.keys(vendor.embeddings ?? {}).map((name) => [name, provider] as const)
    return [...chat, ...embeddings].toSorted(([a], [b]) => a < b ? -1 : 1).flatMap(([name, source]) => {
      const found = entry(vendor, name, source)
      const { responsesOnly = false, retired = false } = found?.facts ?? {}
      return found === undefined || retired || responsesOnly !== (vendor.responses === true) ? [] : [withoutFacts(found)]
    })
  }

  const listed = new Map<string, ReadonlyArray<CatalogueEntry>>()
  return {
    models: (providerType) => {
      const vendor = covers(providerType) ? vendors[providerType] : undefined
      if (vendor === undefined) return []
      const models = listed.get(providerType) ?? list(vendor)
      listed.set(providerType, models)
      return models
    },
    describe: (providerType, upstreamName) => {
      const vendor = covers(providerType) ? vendors[providerType] : undefined
      const found = vendor === undefined ? undefined : entry(vendor, upstreamName)
      return found === undefined ? undefined : withoutFacts(found)
    }
  }
}

/** Reads both sources; prices are those of today. No network. */
export const loadCatalogue: Effect.Effect<Catalogue> = Effect.promise(async () => {
  const [prices, zoo] = await Promise.all([import("@pydantic/genai-prices"), import("llm-zoo")])
  return make(
    Object.values(zoo.MODEL_CONFIGS),
    (id) => prices.findProvider({ providerId: id }),
    (provider, model) => {
      const found = prices.calcPrice({ input_tokens: 1, output_tokens: 1 }, model, { provider })
      return found === null ? undefined : { model: found.model, prices: found.model_price }
    }
  )
})
