/** The package `openai`, chat completions. */
import OpenAI, { APIError } from "openai"
import type { Ask, Driver, Seen, ToolCall } from "../Client.ts"
import { classFor } from "../Client.ts"

type Message = OpenAI.Chat.ChatCompletionMessageParam

/** OpenAI's own types have no thoughts; vendors that show them use this field. */
const thoughtIn = (message: object | undefined): string => {
  const { reasoning_content: thought }: { readonly reasoning_content?: string | null } = Object(message)
  return thought ?? ""
}

const contentOf = ({ file, image, text }: Ask): string | Array<OpenAI.Chat.ChatCompletionContentPart> =>
  image !== undefined
    ? [{ type: "text", text }, { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } }]
    : file !== undefined
    ? [{ type: "text", text }, { type: "file", file: { filename: "paper.pdf", file_data: `data:application/pdf;base64,${file}` } }]
    : text

const messagesOf = ({ called, ...ask }: Ask): Array<Message> => [
  { role: "system", content: "Be brief." },
  { role: "user", content: contentOf(ask) },
  ...(called === undefined ? [] : [
    {
      role: "assistant" as const,
      content: null,
      tool_calls: called.map(({ call }) => ({
        id: call.id,
        type: "function" as const,
        function: { name: call.name, arguments: JSON.stringify(call.arguments) }
      }))
    },
    ...called.map(({ call, result }): Message => ({ role: "tool", tool_call_id: call.id, content: result }))
  ])
]

const paramsOf = (ask: Ask) => ({
  model: ask.model,
  messages: messagesOf(ask),
  ...(ask.tools === undefined ? {} : {
    tools: ask.tools.map(({ description, name, schema }) => ({
      type: "function" as const,
      function: { name, description, parameters: { ...schema } }
    }))
  }),
  ...(ask.oneCall === undefined ? {} : { parallel_tool_calls: false }),
  ...(ask.schema === undefined ? {} : {
    response_format: { type: "json_schema" as const, json_schema: { name: "city", schema: { ...ask.schema }, strict: true } }
  }),
  ...(ask.reasoning === undefined ? {} : { reasoning_effort: "low" as const })
})

const usageOf = (usage: OpenAI.CompletionUsage | null | undefined): Seen["usage"] => ({
  prompt: usage?.prompt_tokens ?? NaN,
  completion: usage?.completion_tokens ?? NaN,
  cached: usage?.prompt_tokens_details?.cached_tokens ?? 0
})

const connect: Driver["connect"] = ({ headers, key, retries, url }) => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: retries, defaultHeaders: headers })

  return {
    complete: async (ask) => {
      const { choices: [choice], usage } = await client.chat.completions.create(paramsOf(ask), { signal: ask.signal })
      return {
        text: choice?.message.content ?? "",
        reasoning: thoughtIn(choice?.message),
        toolCalls: (choice?.message.tool_calls ?? []).flatMap((call) =>
          call.type === "function" ? [{ id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments) }] : []),
        finish: choice?.finish_reason ?? "",
        usage: usageOf(usage)
      }
    },
    stream: async (ask, onPiece) => {
      const stream = await client.chat.completions.create(
        { ...paramsOf(ask), stream: true, stream_options: { include_usage: true } },
        { signal: ask.signal }
      )
      let text = ""
      let reasoning = ""
      let finish = ""
      let usage: OpenAI.CompletionUsage | null | undefined
      const calls: Array<{ id: string; name: string; json: string }> = []
      for await (const chunk of stream) {
        usage = chunk.usage ?? usage
        const [choice] = chunk.choices
        reasoning += thoughtIn(choice?.delta)
        for (const { function: made, id, index } of choice?.delta.tool_calls ?? []) {
          const call = calls[index] ??= { id: "", name: "", json: "" }
          call.id += id ?? ""
          call.name += made?.name ?? ""
          call.json += made?.arguments ?? ""
        }
        finish = choice?.finish_reason ?? finish
        if (typeof choice?.delta.content === "string" && choice.delta.content !== "") {
          text += choice.delta.content
          onPiece()
        }
      }
      const toolCalls = calls.map(({ id, json, name }): ToolCall => ({ id, name, arguments: JSON.parse(json) }))
      return { text, reasoning, finish, toolCalls, usage: usageOf(usage) }
    }
  }
}

export const thrown: Driver["thrown"] = (error) =>
  error instanceof APIError
    ? { status: error.status, type: error.constructor.name, param: error.param ?? undefined, message: error.message }
    : undefined

export const openAiChat: Driver = { connect, thrown, exceptionFor: classFor }
