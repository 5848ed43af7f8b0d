/** What the Vercel AI SDK's providers have in common: `generateText` and `streamText` of the package `ai`. */
import type { LanguageModel, LanguageModelUsage, ModelMessage, ToolSet } from "ai"
import { APICallError, generateText, jsonSchema, Output, RetryError, streamText, tool } from "ai"
import type { Ask, Client, Connection, Driver, Seen, ToolCall } from "../Client.ts"
import { maxTokens } from "../Client.ts"

// It would print what it thinks of a provider that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false

type ProviderOptions = NonNullable<Parameters<typeof generateText>[0]["providerOptions"]>

/** How a provider is asked for what the SDK itself has no word for. */
interface Wishes {
  readonly reasoning: ProviderOptions
  readonly oneCall: ProviderOptions
}

const bytes = (data: string, mediaType: string, filename: string) =>
  ({ type: "file" as const, data: { type: "data" as const, data }, mediaType, filename })

const contentOf = ({ file, image, text }: Ask) =>
  image !== undefined
    ? [{ type: "text" as const, text }, bytes(image, "image/png", "dot.png")]
    : file !== undefined
    ? [{ type: "text" as const, text }, bytes(file, "application/pdf", "paper.pdf")]
    : text

const messagesOf = ({ called, ...ask }: Ask): Array<ModelMessage> => [
  { role: "user", content: contentOf(ask) },
  ...(called === undefined ? [] : [
    {
      role: "assistant" as const,
      content: called.map(({ call }) => ({ type: "tool-call" as const, toolCallId: call.id, toolName: call.name, input: call.arguments }))
    },
    {
      role: "tool" as const,
      content: called.map(({ call, result }) => ({
        type: "tool-result" as const,
        toolCallId: call.id,
        toolName: call.name,
        output: { type: "text" as const, value: result }
      }))
    }
  ])
]

const toolsOf = (tools: NonNullable<Ask["tools"]>): ToolSet =>
  Object.fromEntries(tools.map(({ description, name, schema }) => [name, tool({ description, inputSchema: jsonSchema({ ...schema }) })]))

const callsOf = (calls: ReadonlyArray<{ readonly toolCallId: string; readonly toolName: string; readonly input: unknown }>) =>
  calls.map(({ input, toolCallId: id, toolName: name }): ToolCall => ({ id, name, arguments: input }))

const finishes: Readonly<Record<string, string>> = { "tool-calls": "tool_calls", "content-filter": "content_filter" }

const usageOf = ({ inputTokenDetails: { cacheReadTokens }, inputTokens, outputTokens }: LanguageModelUsage): Seen["usage"] => ({
  prompt: inputTokens ?? NaN,
  completion: outputTokens ?? NaN,
  cached: cacheReadTokens ?? 0
})

/** A client of a provider's models. */
export const clientOf = (
  modelOf: (name: string) => LanguageModel,
  wishes: Wishes,
  { retries }: Pick<Connection, "retries">
): Client => {
  const paramsOf = (ask: Ask) => ({
    model: modelOf(ask.model),
    maxRetries: retries,
    maxOutputTokens: maxTokens,
    instructions: "Be brief.",
    messages: messagesOf(ask),
    ...(ask.tools === undefined ? {} : { tools: toolsOf(ask.tools) }),
    ...(ask.schema === undefined ? {} : { output: Output.object({ schema: jsonSchema({ ...ask.schema }), name: "city" }) }),
    ...(ask.reasoning === undefined ? {} : { providerOptions: wishes.reasoning }),
    ...(ask.oneCall === undefined ? {} : { providerOptions: wishes.oneCall }),
    ...(ask.signal === undefined ? {} : { abortSignal: ask.signal })
  })

  return {
    complete: async (ask) => {
      const result = await generateText(paramsOf(ask))
      return {
        text: result.text,
        reasoning: result.reasoningText ?? "",
        toolCalls: callsOf(result.toolCalls),
        finish: finishes[result.finishReason] ?? result.finishReason,
        usage: usageOf(result.usage)
      }
    },
    stream: async (ask, onPiece) => {
      const result = streamText({ ...paramsOf(ask), onError: () => {} })
      let text = ""
      let reasoning = ""
      for await (const part of result.fullStream) {
        if (part.type === "error") throw part.error
        if (part.type === "reasoning-delta") reasoning += part.text
        if (part.type !== "text-delta") continue
        text += part.text
        onPiece()
      }
      const finish = await result.finishReason
      return {
        text,
        reasoning,
        toolCalls: callsOf(await result.toolCalls),
        finish: finishes[finish] ?? finish,
        usage: usageOf(await result.usage)
      }
    }
  }
}

const paramIn = (body: string | undefined): string | undefined => {
  const { error }: { readonly error?: { readonly param?: unknown } } = body === undefined ? {} : Object(JSON.parse(body))
  return typeof error?.param === "string" ? error.param : undefined
}

/** In a stream's middle the SDK hands on what the event says, which need be no `Error`. */
export const thrown: Driver["thrown"] = (given) => {
  const error = RetryError.isInstance(given) ? given.lastError : given
  if (APICallError.isInstance(error)) {
    return { status: error.statusCode, type: "APICallError", param: paramIn(error.responseBody), message: error.message }
  }
  return { status: undefined, type: "stream error", param: undefined, message: error instanceof Error ? error.message : JSON.stringify(error) }
}

export const exceptionFor = (): string => "APICallError"
