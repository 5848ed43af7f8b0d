/** A provider without a network: the same question gets the same answer, so that everything can be tried without a key. */
import { createHash } from "node:crypto"
import { Effect } from "effect"
import type { ChatRequest, Choice, Completion, Message, StreamEvent } from "../../domain/Chat.ts"
import { text, textOf } from "../../domain/Chat.ts"
import { forEachEager } from "../../domain/Eager.ts"
import type { Embeddings } from "../../domain/Embedding.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import type { EmbeddingCall, ProviderAdapter, ProviderCall } from "../ProviderAdapter.ts"
import type { Feature } from "./Abilities.ts"
import { fitted } from "./Abilities.ts"
import { embeddingsOf, plainTexts } from "./Embeddings.ts"

// --- wire types: there is no wire

const lacks: ReadonlyArray<Feature> = ["json_schema", "logprobs"]

/** The models that the mock offers. */
const mockModels: ReadonlyArray<string> = ["mock-small", "mock-large", "mock-embedding"]

// --- request out: what is asked for

const wordsOf = (message: Message): string =>
  message.content.map((part) => (part.type === "tool_result" ? textOf(part.content) : part.type === "text" ? part.text : "")).join("\n")

const lastWords = (messages: ReadonlyArray<Message>): string => {
  const last = messages.findLast(({ role }) => role === "user" || role === "tool")
  return last === undefined ? "" : wordsOf(last)
}

/** A rough count: four characters a token. */
const tokensOf = (words: string): number => Math.ceil(words.length / 4)

const asksForVerdict = (messages: ReadonlyArray<Message>): boolean =>
  messages.some((message) => message.role === "system" && /VERDICT: (ACCEPT|REVISE)/.test(wordsOf(message)))

const asksForImprovement = (words: string): boolean => /\bcritique\b/i.test(words) && /\bimproved answer\b/i.test(words)

/** The sign of an answer that took a critique up. */
const improvement = "Improved after the critique"

const short = (words: string): string => {
  const line = words.replace(/\s+/g, " ").trim()
  return line.length > 120 ? `${line.slice(0, 120)}…` : line
}

/** The question behind a conversation, whatever a mode put after it. */
const questionOf = (messages: ReadonlyArray<Message>): string => {
  const users = messages.filter(({ role }) => role === "user").map(wordsOf)
  return users.findLast((words) => !asksForImprovement(words)) ?? ""
}

// --- answer in

const critiqueOf = (words: string): string =>
  words.includes(improvement)
    ? "The draft took the earlier critique up and answers the question. Nothing has to change.\nVERDICT: ACCEPT"
    : "The draft answers in one sentence and gives no example. Add one concrete example and say what to do next.\nVERDICT: REVISE"

const proseOf = (model: string, { messages }: ChatRequest): string => {
  const words = lastWords(messages)
  if (asksForVerdict(messages)) return critiqueOf(words)
  const question = short(questionOf(messages))
  const opening = asksForImprovement(words) ? `${improvement}: this` : "This"
  const heard = question === "" ? "You asked nothing yet" : `You asked: "${question}"`
  return `${opening} is ${model} of the mock provider, which needs no key and calls nobody. ${heard}. ` +
    "Add a real provider with POST /admin/providers for a real answer."
}

const answerOf = (call: ProviderCall): string => {
  const prose = proseOf(call.upstreamModel, call.request)
  return call.request.responseFormat?.type === "json_object" ? JSON.stringify({ provider: "mock", answer: prose }) : prose
}

/** The answer up to the first stop text and the output limit. */
const choiceOf = (call: ProviderCall): Choice => {
  const whole = answerOf(call)
  const stops = (call.request.stop ?? []).map((stop) => whole.indexOf(stop)).filter((at) => at >= 0)
  const stopped = whole.slice(0, Math.min(whole.length, ...stops))
  const limited = stopped.slice(0, (call.request.maxTokens ?? Number.POSITIVE_INFINITY) * 4)
  return { content: [text(limited)], finishReason: limited === stopped ? "stop" : "length" }
}

const completionOf = (call: ProviderCall): Completion => {
  const choice = choiceOf(call)
  const count = call.request.n ?? 1
  const alternatives = Array.from({ length: count - 1 }, () => choice)
  return {
    ...choice,
    upstreamModel: call.upstreamModel,
    usage: {
      promptTokens: Math.max(1, tokensOf(call.request.messages.map(wordsOf).join("\n"))),
      cachedTokens: 0,
      cacheWriteTokens: 0,
      completionTokens: tokensOf(textOf(choice.content)) * count,
      reasoningTokens: 0,
      estimated: false
    },
    ...(alternatives.length === 0 ? {} : { alternatives })
  }
}

const mockDimensions = 256

/** A unit vector that depends on the text alone. */
const vectorOf = (words: string, dimensions: number): ReadonlyArray<number> => {
  const bytes = createHash("shake256", { outputLength: dimensions }).update(words).digest()
  const raw = Array.from(bytes, (byte) => byte - 127.5)
  const length = Math.sqrt(raw.reduce((sum, number) => sum + number * number, 0))
  return raw.map((number) => number / length)
}

const embeddingsIn = (call: EmbeddingCall): Embeddings | ProviderError => {
  const texts = plainTexts(call, "the mock provider")
  return texts instanceof ProviderError ? texts : embeddingsOf(call, {
    vectors: texts.map((words) => vectorOf(words, call.request.dimensions ?? mockDimensions)),
    upstreamModel: undefined,
    promptTokens: texts.reduce((sum, words) => sum + Math.max(1, tokensOf(words)), 0)
  })
}

// --- stream in

/** Word by word, the space with the word before it. */
const eventsOf = (completion: Completion): ReadonlyArray<StreamEvent> => [
  ...(textOf(completion.content).match(/\S+\s*|\s+/g) ?? []).map((word) => ({ type: "text" as const, text: word })),
  { type: "end", completion }
]

// --- errors in

const checked = (call: ProviderCall): Effect.Effect<Completion, ProviderError> =>
  Effect.suspend(() => {
    const request = fitted(call.request, lacks, "the mock provider")
    return request instanceof ProviderError ? Effect.fail(request) : Effect.succeed(completionOf({ ...call, request }))
  })

// --- adapter

export const mock: ProviderAdapter = {
  complete: checked,
  stream: (call, receive) => Effect.flatMap(checked(call), (completion) => forEachEager(eventsOf(completion), receive)),
  embed: (call) =>
    Effect.suspend(() => {
      const embeddings = embeddingsIn(call)
      return embeddings instanceof ProviderError ? Effect.fail(embeddings) : Effect.succeed(embeddings)
    }),
  models: () => Effect.succeed(mockModels)
}
