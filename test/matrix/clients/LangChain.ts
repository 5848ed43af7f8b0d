/** The package `@langchain/openai`, chat completions. */
import type { AIMessageChunk, BaseMessageLike, UsageMetadata } from "@langchain/core/messages"
import { ChatOpenAI } from "@langchain/openai"
import type { Ask, Driver, Seen } from "../Client.ts"
import { classFor, maxTokens } from "../Client.ts"
import { thrown } from "./OpenAiChat.ts"

const contentOf = ({ file, image, text }: Ask) =>
  image !== undefined
    ? [{ type: "text", text }, { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } }]
    : file !== undefined
    ? [{ type: "text", text }, { type: "file", file: { filename: "paper.pdf", file_data: `data:application/pdf;base64,${file}` } }]
    : text

const messagesOf = ({ called, ...ask }: Ask): Array<BaseMessageLike> => [
  { role: "system", content: "Be brief." },
  { role: "user", content: contentOf(ask) },
  ...(called === undefined ? [] : [
    {
      role: "assistant",
      content: "",
      tool_calls: called.map(({ call: { arguments: args, id, name } }) => ({ type: "tool_call", id, name, args }))
    },
    ...called.map(({ call, result }) => ({ role: "tool", tool_call_id: call.id, content: result }))
  ])
]

const optionsOf = (ask: Ask) => ({
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
  ...(ask.signal === undefined ? {} : { signal: ask.signal })
})

interface Message extends Pick<AIMessageChunk, "additional_kwargs" | "response_metadata" | "text" | "tool_calls"> {
  readonly usage_metadata?: UsageMetadata | undefined
}

const seenIn = ({ additional_kwargs: more, response_metadata, text, tool_calls, usage_metadata: usage }: Message): Seen => ({
  text,
  reasoning: typeof more["reasoning_content"] === "string" ? more["reasoning_content"] : "",
  toolCalls: (tool_calls ?? []).map(({ args, id = "", name }) => ({ id, name, arguments: args })),
  finish: String(response_metadata["finish_reason"]),
  usage: {
    prompt: usage?.input_tokens ?? NaN,
    completion: usage?.output_tokens ?? NaN,
    cached: usage?.input_token_details?.cache_read ?? 0
  }
})

const connect: Driver["connect"] = ({ headers, key, retries, url }) => {
  const modelOf = (ask: Ask) =>
    new ChatOpenAI({
      model: ask.model,
      apiKey: key,
      maxTokens,
      maxRetries: retries,
      // The class keeps its own `reasoning` to itself unless the model's name is one of OpenAI's.
      ...(ask.reasoning === undefined ? {} : { modelKwargs: { reasoning_effort: "low" } }),
      configuration: { baseURL: `${url}/v1`, ...(headers === undefined ? {} : { defaultHeaders: headers }) }
    })

  return {
    complete: async (ask) => seenIn(await modelOf(ask).invoke(messagesOf(ask), optionsOf(ask))),
    stream: async (ask, onPiece) => {
      let whole: AIMessageChunk | undefined
      for await (const chunk of await modelOf(ask).stream(messagesOf(ask), optionsOf(ask))) {
        whole = whole === undefined ? chunk : whole.concat(chunk)
        if (chunk.text !== "") onPiece()
      }
      if (whole === undefined) throw new Error("The stream had no chunk")
      return seenIn(whole)
    }
  }
}

export const langChain: Driver = { connect, thrown, exceptionFor: classFor }
