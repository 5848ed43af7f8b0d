/** Anthropic's content blocks raised to parts. What the canonical form has no place for is noted by its path. */
import type { FilePart, ImagePart, Part, Source, TextPart, ToolResultPart } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { argumentsOf, toolCallId } from "../../domain/ToolUse.ts"
import type { Block } from "./AnthropicMessagesApi.ts"
import type { Json } from "../Door.ts"
import { defined, isRecord } from "../Json.ts"

/** Paths of what the canonical form has no place for. */
export type Unraised = Array<string>

export const refuse = (param: string, expected: string): never => {
  throw new InvalidRequest({ message: `${param}: ${expected}`, param })
}

const isBlock = (value: unknown): value is Block => isRecord(value) && typeof value["type"] === "string"

export const stringAt = (fields: Json, name: string, at: string): string => {
  const value = fields[name]
  return typeof value === "string" ? value : refuse(`${at}.${name}`, "must be a string")
}

const recordAt = (fields: Json, name: string, at: string): Json => {
  const value = fields[name]
  return isRecord(value) ? value : refuse(`${at}.${name}`, "must be an object")
}

const optionalString = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

export const cacheMark = (block: Json) => defined("cacheControl", block["cache_control"])

const textOf = (block: Block, at: string): TextPart => ({ ...text(stringAt(block, "text", at)), ...cacheMark(block) })

/** A string as one text; the blocks of a list each by `raise`, which gives none for what has no place. */
export const contentOf = <A>(
  content: unknown,
  at: string,
  raise: (block: Block, at: string) => ReadonlyArray<A>
): ReadonlyArray<A | TextPart> => {
  if (typeof content === "string") return [text(content)]
  if (!Array.isArray(content)) return refuse(at, "must be a string or a list of content blocks")
  return content.flatMap((block: unknown, i) =>
    isBlock(block) ? raise(block, `${at}[${i}]`) : refuse(`${at}[${i}]`, "must be a content block, an object with a type")
  )
}

/** Base64 or a URL; undefined: another kind, such as a file that lies at Anthropic. */
const bytesOf = (source: Json, at: string): Source | undefined => {
  switch (source["type"]) {
    case "base64":
      return { type: "data", mediaType: stringAt(source, "media_type", at).toLowerCase(), data: stringAt(source, "data", at) }
    case "url": {
      const url = stringAt(source, "url", at)
      return /^https?:\/\/[^/]/i.test(url) ? { type: "url", url } : refuse(`${at}.url`, "must be an http or https URL")
    }
    default:
      return undefined
  }
}

const plainText = (data: string): Source => ({ type: "data", mediaType: "text/plain", data: Buffer.from(data).toString("base64") })

const imageOf = (block: Block, at: string, unraised: Unraised): ReadonlyArray<ImagePart> => {
  const source = bytesOf(recordAt(block, "source", at), `${at}.source`)
  if (source === undefined) unraised.push(`${at}.source`)
  return source === undefined ? [] : [{ type: "image", source, ...cacheMark(block) }]
}

/** A document: a file, or, where it is made of blocks with pictures, these blocks after its title. */
const documentOf = (block: Block, at: string, unraised: Unraised): ReadonlyArray<FilePart | TextPart | ImagePart> => {
  const given = recordAt(block, "source", at)
  const path = `${at}.source`
  const title = optionalString(block["title"])
  const citations = block["citations"]
  if (isRecord(citations) && citations["enabled"] === true) unraised.push(`${at}.citations`)
  if (typeof block["context"] === "string") unraised.push(`${at}.context`)
  const file = (source: Source): ReadonlyArray<FilePart> => [{ type: "file", source, ...defined("filename", title), ...cacheMark(block) }]
  if (given["type"] === "text") return file(plainText(stringAt(given, "data", path)))
  if (given["type"] === "content") {
    const parts = contentOf(given["content"], `${path}.content`, (inner, at) => resultPartOf(inner, at, unraised))
    const texts = parts.filter((part) => part.type === "text")
    return texts.length === parts.length
      ? file(plainText(texts.map((part) => part.text).join("\n\n")))
      : [...(title === undefined ? [] : [text(title)]), ...parts]
  }
  const source = bytesOf(given, path)
  if (source === undefined) unraised.push(path)
  return source === undefined ? [] : file(source)
}

/** What instructions, a tool's result or a document are made of. */
export const resultPartOf = (block: Block, at: string, unraised: Unraised): ReadonlyArray<TextPart | ImagePart> => {
  switch (block.type) {
    case "text":
      return [textOf(block, at)]
    case "image":
      return imageOf(block, at, unraised)
    default:
      unraised.push(at)
      return []
  }
}

const resultOf = (block: Block, at: string, unraised: Unraised): ToolResultPart => ({
  type: "tool_result",
  toolCallId: toolCallId(stringAt(block, "tool_use_id", at)),
  content: contentOf(block["content"] ?? [], `${at}.content`, (inner, at) => resultPartOf(inner, at, unraised)),
  ...(typeof block["is_error"] === "boolean" ? { isError: block["is_error"] } : {}),
  ...cacheMark(block)
})

export const partOf = (block: Block, at: string, unraised: Unraised): ReadonlyArray<Part> => {
  switch (block.type) {
    case "text":
      return [textOf(block, at)]
    case "image":
      return imageOf(block, at, unraised)
    case "document":
      return documentOf(block, at, unraised)
    case "tool_use":
      if (typeof block["toolset_name"] === "string") unraised.push(`${at}.toolset_name`)
      return [{
        type: "tool_call",
        id: toolCallId(stringAt(block, "id", at)),
        name: stringAt(block, "name", at),
        arguments: argumentsOf(block["input"]),
        ...cacheMark(block)
      }]
    case "tool_result":
      return [resultOf(block, at, unraised)]
    case "thinking": {
      const signature = optionalString(block["signature"])
      return [{ type: "reasoning", text: stringAt(block, "thinking", at), ...(signature ? { signature } : {}) }]
    }
    case "redacted_thinking":
      return [{ type: "reasoning", text: "", redacted: stringAt(block, "data", at) }]
    default:
      unraised.push(at)
      return []
  }
}
