/** The providers of the matrix: how they are registered, and how to read what reached them. */
import type { VendorName } from "../support/fake-provider/Wire.ts"
import { isJson, listOf, objectOf, textOf } from "../support/fake-provider/Wire.ts"
import type { UpstreamName } from "./Table.ts"

type Json = { readonly [name: string]: unknown }

/** What a provider was asked, in no protocol's words. */
export interface Heard {
  /** Base64, by media type: pictures are PNG, files PDF. */
  readonly images: ReadonlyArray<string>
  readonly files: ReadonlyArray<string>
  readonly tools: ReadonlyArray<{ readonly name: string; readonly schema: Json }>
  /** Calls that an earlier answer made, and what their tools gave back. */
  readonly calls: ReadonlyArray<{ readonly id: string; readonly name: string }>
  readonly results: ReadonlyArray<{ readonly id: string; readonly text: string }>
  /** The form that the answer must have. */
  readonly schema: Json | undefined
  readonly reasoning: boolean
  /** At most one call is wanted. */
  readonly oneCall: boolean
}

export interface Upstream {
  readonly vendor: VendorName
  /** The provider's names of the model that is asked first, and of one that weighs less. */
  readonly models: readonly [planner: string, critic: string]
  readonly heard: (body: Json) => Heard
}

const png = "image/png"
const pdf = "application/pdf"

/** The bytes of a data URL, if they are of this type. */
const dataOf = (url: unknown, type: string): ReadonlyArray<string> => {
  const head = `data:${type};base64,`
  const text = textOf(url)
  return text.startsWith(head) ? [text.slice(head.length)] : []
}

const some = (value: unknown): Json | undefined => (isJson(value) ? value : undefined)

const openAiChat = (body: Json): Heard => {
  const messages = listOf(body["messages"])
  const parts = messages.flatMap(({ content }) => listOf(content))
  return {
    images: parts.flatMap((part) => dataOf(objectOf(part["image_url"])["url"], png)),
    files: parts.flatMap((part) => dataOf(objectOf(part["file"])["file_data"], pdf)),
    tools: listOf(body["tools"]).map((tool) => objectOf(tool["function"])).map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["parameters"]) })),
    calls: messages.flatMap((message) => listOf(message["tool_calls"])).map((call) => ({
      id: textOf(call["id"]),
      name: textOf(objectOf(call["function"])["name"])
    })),
    results: messages.filter(({ role }) => role === "tool").map((message) => ({
      id: textOf(message["tool_call_id"]),
      text: textOf(message["content"])
    })),
    schema: some(objectOf(objectOf(body["response_format"])["json_schema"])["schema"]),
    reasoning: body["reasoning_effort"] !== undefined,
    oneCall: body["parallel_tool_calls"] === false
  }
}

const openAiResponses = (body: Json): Heard => {
  const items = listOf(body["input"])
  const parts = items.flatMap(({ content }) => listOf(content))
  return {
    images: parts.flatMap((part) => dataOf(part["image_url"], png)),
    files: parts.flatMap((part) => dataOf(part["file_data"], pdf)),
    tools: listOf(body["tools"]).map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["parameters"]) })),
    calls: items.filter(({ type }) => type === "function_call").map((item) => ({ id: textOf(item["call_id"]), name: textOf(item["name"]) })),
    results: items.filter(({ type }) => type === "function_call_output").map((item) => ({
      id: textOf(item["call_id"]),
      text: textOf(item["output"])
    })),
    schema: some(objectOf(objectOf(body["text"])["format"])["schema"]),
    reasoning: objectOf(body["reasoning"])["effort"] !== undefined,
    oneCall: body["parallel_tool_calls"] === false
  }
}

const blockText = (content: unknown): string =>
  typeof content === "string" ? content : listOf(content).map((block) => textOf(block["text"])).join("")

const anthropic = (body: Json): Heard => {
  const blocks = listOf(body["messages"]).flatMap(({ content }) => listOf(content))
  const of = (type: string) => blocks.filter((block) => block["type"] === type)
  const bytesOf = (type: string, media: string) =>
    of(type).map((block) => objectOf(block["source"])).filter((source) => source["media_type"] === media).map(({ data }) => textOf(data))
  return {
    images: bytesOf("image", png),
    files: bytesOf("document", pdf),
    tools: listOf(body["tools"]).map((tool) => ({ name: textOf(tool["name"]), schema: objectOf(tool["input_schema"]) })),
    calls: of("tool_use").map((block) => ({ id: textOf(block["id"]), name: textOf(block["name"]) })),
    results: of("tool_result").map((block) => ({ id: textOf(block["tool_use_id"]), text: blockText(block["content"]) })),
    schema: some(objectOf(objectOf(body["output_config"])["format"])["schema"]),
    reasoning: objectOf(body["thinking"])["type"] === "enabled",
    oneCall: objectOf(body["tool_choice"])["disable_parallel_tool_use"] === true
  }
}

const gemini = (body: Json): Heard => {
  const parts = listOf(body["contents"]).flatMap(({ parts }) => listOf(parts))
  const of = (field: string) => parts.map((part) => part[field]).filter(isJson)
  const config = objectOf(body["generationConfig"])
  const bytesOf = (type: string) => of("inlineData").filter(({ mimeType }) => mimeType === type).map(({ data }) => textOf(data))
  return {
    images: bytesOf(png),
    files: bytesOf(pdf),
    tools: listOf(body["tools"]).flatMap((tool) => listOf(tool["functionDeclarations"])).map((tool) => ({
      name: textOf(tool["name"]),
      schema: objectOf(tool["parametersJsonSchema"])
    })),
    calls: of("functionCall").map((call) => ({ id: textOf(call["id"]), name: textOf(call["name"]) })),
    results: of("functionResponse").map((result) => ({
      id: textOf(result["id"]),
      text: textOf(objectOf(result["response"])["result"])
    })),
    schema: some(config["responseJsonSchema"]),
    reasoning: objectOf(config["thinkingConfig"])["includeThoughts"] === true,
    oneCall: false
  }
}

/** By provider type. */
export const upstreams: Readonly<Record<UpstreamName, Upstream>> = {
  openai: { vendor: "openai", models: ["gpt-5", "gpt-4o-mini"], heard: openAiChat },
  "openai-responses": { vendor: "openai", models: ["gpt-5", "gpt-4.1"], heard: openAiResponses },
  anthropic: { vendor: "anthropic", models: ["claude-opus-4-5", "claude-haiku-4-5"], heard: anthropic },
  gemini: { vendor: "gemini", models: ["gemini-2.5-pro", "gemini-2.5-flash"], heard: gemini }
}
