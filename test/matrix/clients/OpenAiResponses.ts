/** The package `openai`, responses. */
import OpenAI, { APIError } from "openai"
import type { Ask, Driver, Seen } from "../Client.ts"
import { classFor } from "../Client.ts"
import { thrown } from "./OpenAiChat.ts"

type Response = OpenAI.Responses.Response

const contentOf = ({ file, image, text }: Ask): string | OpenAI.Responses.ResponseInputMessageContentList =>
  image !== undefined
    ? [{ type: "input_text", text }, { type: "input_image", detail: "auto", image_url: `data:image/png;base64,${image}` }]
    : file !== undefined
    ? [{ type: "input_text", text }, { type: "input_file", filename: "paper.pdf", file_data: `data:application/pdf;base64,${file}` }]
    : text

const inputOf = ({ called, ...ask }: Ask): OpenAI.Responses.ResponseInput => [
  { role: "user", content: contentOf(ask) },
  ...(called ?? []).map(({ call: { arguments: input, id, name } }) => ({
    type: "function_call" as const,
    call_id: id,
    name,
    arguments: JSON.stringify(input)
  })),
  ...(called ?? []).map(({ call, result }) => ({ type: "function_call_output" as const, call_id: call.id, output: result }))
]

const paramsOf = (ask: Ask) => ({
  model: ask.model,
  instructions: "Be brief.",
  input: inputOf(ask),
  ...(ask.tools === undefined ? {} : {
    tools: ask.tools.map(({ description, name, schema }) =>
      ({ type: "function" as const, name, description, parameters: { ...schema }, strict: true }))
  }),
  ...(ask.oneCall === undefined ? {} : { parallel_tool_calls: false }),
  ...(ask.schema === undefined ? {} : {
    text: { format: { type: "json_schema" as const, name: "city", schema: { ...ask.schema }, strict: true } }
  }),
  ...(ask.reasoning === undefined ? {} : { reasoning: { effort: "low" as const, summary: "auto" as const } })
})

/** A response says why it ended only where it is incomplete. */
const finishes: Readonly<Record<string, string>> = { max_output_tokens: "length", content_filter: "content_filter" }

const seenIn = ({ incomplete_details: incomplete, output, output_text: text, status, usage }: Response): Seen => {
  const calls = output.flatMap((item) => (item.type === "function_call" ? [item] : []))
  return {
    text,
    reasoning: output.flatMap((item) => (item.type === "reasoning" ? item.summary.map((part) => part.text) : [])).join(""),
    toolCalls: calls.map(({ arguments: json, call_id: id, name }) => ({ id, name, arguments: JSON.parse(json) })),
    finish: status !== "completed"
      ? finishes[incomplete?.reason ?? ""] ?? String(status)
      : calls.length > 0
      ? "tool_calls"
      : "stop",
    usage: {
      prompt: usage?.input_tokens ?? NaN,
      completion: usage?.output_tokens ?? NaN,
      cached: usage?.input_tokens_details.cached_tokens ?? 0
    }
  }
}

const connect: Driver["connect"] = ({ headers, key, retries, url }) => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: retries, defaultHeaders: headers })

  return {
    complete: async (ask) => seenIn(await client.responses.create(paramsOf(ask), { signal: ask.signal })),
    // The SDK's own accumulator: it fails where an event does not follow from those before it.
    stream: async (ask, onPiece) => {
      const stream = client.responses.stream(paramsOf(ask), { signal: ask.signal })
      let text = ""
      for await (const event of stream) {
        if (event.type === "error") throw new APIError(undefined, event, event.message, undefined)
        if (event.type === "response.failed") {
          throw new APIError(undefined, event.response.error ?? {}, event.response.error?.message, undefined)
        }
        if (event.type !== "response.output_text.delta") continue
        text += event.delta
        onPiece()
      }
      const seen = seenIn(await stream.finalResponse())
      return { ...seen, text: text === seen.text ? text : `pieces: ${text}, response: ${seen.text}` }
    }
  }
}

export const openAiResponses: Driver = { connect, thrown, exceptionFor: classFor }
