/** The package `@anthropic-ai/sdk`, messages. */
import Anthropic, { APIError } from "@anthropic-ai/sdk"
import type { Ask, Driver, Seen } from "../Client.ts"
import { classFor, maxTokens } from "../Client.ts"

const contentOf = ({ file, image, text }: Ask): string | Array<Anthropic.ContentBlockParam> =>
  image !== undefined
    ? [{ type: "text", text }, { type: "image", source: { type: "base64", media_type: "image/png", data: image } }]
    : file !== undefined
    ? [{ type: "text", text }, { type: "document", title: "paper.pdf", source: { type: "base64", media_type: "application/pdf", data: file } }]
    : text

const messagesOf = ({ called, ...ask }: Ask): Array<Anthropic.MessageParam> => [
  { role: "user", content: contentOf(ask) },
  ...(called === undefined ? [] : [
    {
      role: "assistant" as const,
      content: called.map(({ call: { arguments: input, id, name } }) => ({ type: "tool_use" as const, id, name, input }))
    },
    {
      role: "user" as const,
      content: called.map(({ call, result }) => ({ type: "tool_result" as const, tool_use_id: call.id, content: result }))
    }
  ])
]

const paramsOf = (ask: Ask) => ({
  model: ask.model,
  max_tokens: maxTokens,
  system: "Be brief.",
  messages: messagesOf(ask),
  ...(ask.tools === undefined ? {} : {
    tools: ask.tools.map(({ description, name, schema }) => ({ name, description, input_schema: { ...schema } }))
  }),
  ...(ask.oneCall === undefined ? {} : { tool_choice: { type: "auto" as const, disable_parallel_tool_use: true } }),
  ...(ask.schema === undefined ? {} : {
    output_config: { format: { type: "json_schema" as const, schema: { ...ask.schema } } }
  }),
  ...(ask.reasoning === undefined ? {} : { thinking: { type: "enabled" as const, budget_tokens: 2048 } })
})

const finishes: Readonly<Record<string, string>> = {
  end_turn: "stop",
  tool_use: "tool_calls",
  max_tokens: "length",
  refusal: "content_filter"
}

const seenIn = ({ content, stop_reason: reason, usage }: Anthropic.Message): Seen => {
  const cached = usage.cache_read_input_tokens ?? 0
  return {
    text: content.map((block) => (block.type === "text" ? block.text : "")).join(""),
    reasoning: content.map((block) => (block.type === "thinking" ? block.thinking : "")).join(""),
    toolCalls: content.flatMap((block) => (block.type === "tool_use" ? [{ id: block.id, name: block.name, arguments: block.input }] : [])),
    finish: finishes[reason ?? ""] ?? String(reason),
    usage: {
      prompt: usage.input_tokens + cached + (usage.cache_creation_input_tokens ?? 0),
      completion: usage.output_tokens,
      cached
    }
  }
}

const connect: Driver["connect"] = ({ headers, key, retries, url }) => {
  const client = new Anthropic({ baseURL: url, apiKey: key, authToken: null, maxRetries: retries, defaultHeaders: headers })

  return {
    complete: async (ask) => seenIn(await client.messages.create(paramsOf(ask), { signal: ask.signal })),
    // The SDK's own accumulator.
    stream: async (ask, onPiece) => {
      const stream = client.messages.stream(paramsOf(ask), { signal: ask.signal })
      stream.on("text", onPiece)
      return seenIn(await stream.finalMessage())
    }
  }
}

/** Anthropic's errors have no place for a field's name; TokenHub's say it beside the message. */
const paramIn = (body: unknown): string | undefined => {
  const { error }: { error?: { error?: { param?: unknown } } } = { error: Object(body) }
  return typeof error?.error?.param === "string" ? error.error.param : undefined
}

const thrown: Driver["thrown"] = (error) =>
  error instanceof APIError
    ? { status: error.status, type: error.constructor.name, param: paramIn(error.error), message: error.message }
    : undefined

/** From 500 on the SDK's classes are finer than OpenAI's. */
const exceptionFor: Driver["exceptionFor"] = (status) => status === 503 ? "ServiceUnavailableError" : status === 504 ? "GatewayTimeoutError" : classFor(status)

export const anthropic: Driver = { connect, thrown, exceptionFor }
