/** Items of OpenAI's Responses API raised to canonical messages. Pure functions that throw `InvalidRequest`. */
import type { FilePart, ImagePart, Message, Part, ReasoningPart, Role, TextPart } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import * as Signature from "../../domain/Signature.ts"
import type { Json } from "../Door.ts"
import { defined, isRecord } from "../Json.ts"
import { sourceOf } from "./OpenAiChatRequest.ts"

/** What the items say, and the paths of what the canonical form has no place for. */
export interface Raised {
  readonly messages: ReadonlyArray<Message>
  readonly unraised: ReadonlyArray<string>
}

const refuse = (param: string, message: string): InvalidRequest => new InvalidRequest({ message: `${param}: ${message}`, param })

const stringAt = (object: Json, name: string, at: string): string => {
  const value = object[name]
  if (typeof value === "string") return value
  throw refuse(`${at}.${name}`, "must be a string")
}

const optionalAt = (object: Json, name: string): string | undefined => {
  const value = object[name]
  return typeof value === "string" && value !== "" ? value : undefined
}

// --- bytes

const markOf = (part: Json) => defined("cacheControl", part["prompt_cache_breakpoint"])

const imageOf = (part: Json, at: string): ImagePart | undefined => {
  const url = optionalAt(part, "image_url")
  if (url === undefined && part["file_id"] !== undefined && part["file_id"] !== null) return undefined
  const detail = optionalAt(part, "detail")
  return {
    type: "image",
    source: sourceOf(url ?? stringAt(part, "image_url", at), `${at}.image_url`),
    ...(detail === undefined || detail === "auto" ? {} : { detail }),
    ...markOf(part)
  }
}

/** `file_data` is a data URL; bare base64, which OpenAI takes too, is a PDF where the file's name says so. */
const fileOf = (part: Json, at: string): FilePart | undefined => {
  const filename = optionalAt(part, "filename")
  const named = { ...(filename === undefined ? {} : { filename }), ...markOf(part) }
  const url = optionalAt(part, "file_url")
  if (url !== undefined) return { type: "file", source: sourceOf(url, `${at}.file_url`), ...named }
  if (part["file_data"] === undefined && typeof part["file_id"] === "string") return undefined
  const data = stringAt(part, "file_data", at)
  if (data.includes(":")) return { type: "file", source: sourceOf(data, `${at}.file_data`), ...named }
  const mediaType = /\.pdf$/i.test(filename ?? "") ? "application/pdf" : "application/octet-stream"
  return { type: "file", source: { type: "data", mediaType, data }, ...named }
}

// --- content

/** A content part; undefined: the canonical form has no place for it. */
const partOf = (part: unknown, at: string): TextPart | ImagePart | FilePart | Extract<Part, { type: "refusal" }> | undefined => {
  if (!isRecord(part)) throw refuse(at, "must be an object")
  switch (part["type"]) {
    case "input_text":
    case "output_text":
    case "text":
      return { ...text(stringAt(part, "text", at)), ...markOf(part) }
    case "refusal":
      return { type: "refusal", text: stringAt(part, "refusal", at) }
    case "input_image":
      return imageOf(part, at)
    case "input_file":
      return fileOf(part, at)
    default:
      return undefined
  }
}

const contentOf = (content: unknown, at: string, unraised: Array<string>) => {
  if (typeof content === "string") return [text(content)]
  if (!Array.isArray(content)) throw refuse(at, "must be a string or a list of parts")
  return content.flatMap((part, i) => {
    const raised = partOf(part, `${at}[${i}]`)
    if (raised === undefined) unraised.push(`${at}[${i}]`)
    return raised === undefined ? [] : [raised]
  })
}

// --- thoughts

/** What TokenHub puts into `encrypted_content`: any vendor's signature, as the canonical form has it. */
const sealed = "tokenhub."
const sealedRedacted = `${sealed}redacted.`

/** A thought's `encrypted_content`; undefined: it has none. */
export const seal = ({ redacted, signature }: Pick<ReasoningPart, "redacted" | "signature">): string | undefined =>
  redacted !== undefined ? sealedRedacted + redacted : signature === undefined ? undefined : sealed + signature

/** The inverse of `seal`; content without TokenHub's mark is OpenAI's own. */
const unseal = (id: string, encrypted: string): Pick<ReasoningPart, "redacted" | "signature"> =>
  encrypted.startsWith(sealedRedacted)
    ? { redacted: encrypted.slice(sealedRedacted.length) }
    : {
      signature: encrypted.startsWith(sealed)
        ? encrypted.slice(sealed.length)
        : Signature.marked("openai", Signature.join(id, encrypted))
    }

const textsOf = (value: unknown): ReadonlyArray<string> =>
  Array.isArray(value) ? value.flatMap((part) => (isRecord(part) ? optionalAt(part, "text") ?? [] : [])) : []

const reasoningOf = (item: Json): ReasoningPart => {
  const encrypted = optionalAt(item, "encrypted_content")
  return {
    type: "reasoning",
    text: [...textsOf(item["summary"]), ...textsOf(item["content"])].join("\n\n"),
    ...(encrypted === undefined ? {} : unseal(optionalAt(item, "id") ?? "", encrypted))
  }
}

/**
 * Items as OpenAI itself takes them: thoughts that TokenHub sealed are opened where they are OpenAI's, and left out where another
 * vendor had them.
 */
export const nativeItems = (items: ReadonlyArray<Json>): ReadonlyArray<Json> =>
  items.flatMap((item) => {
    if (item["type"] !== "reasoning" || optionalAt(item, "encrypted_content")?.startsWith(sealed) !== true) return [item]
    const own = Signature.unmarked("openai", reasoningOf(item).signature)
    if (own === undefined) return []
    const [id, encrypted] = Signature.split(own)
    return [{ ...item, id, encrypted_content: encrypted }]
  })

// --- items

const roles: { readonly [role: string]: Role } = {
  system: "system",
  developer: "developer",
  user: "user",
  assistant: "assistant"
}

/** Other parts than texts and images have no place in a tool's result. */
const outputOf = (item: Json, callId: string, at: string, unraised: Array<string>): Message => {
  const output = item["output"]
  const parts = typeof output === "string" ? [[text(output)]] : Array.isArray(output)
    ? output.map((part: unknown, i) => {
      const path = `${at}.output[${i}]`
      const raised = partOf(part, path)
      if (raised?.type === "text" || raised?.type === "image") return [raised]
      unraised.push(path)
      return []
    })
    : undefined
  if (parts === undefined) throw refuse(`${at}.output`, "must be a string or a list of parts")
  return { role: "tool", content: [{ type: "tool_result", toolCallId: callId, content: parts.flat() }] }
}

/** Neighbouring items of the assistant's (thoughts, texts, calls) are one message. */
export const raise = (items: ReadonlyArray<Json>): Raised => {
  const messages: Array<Message> = []
  const unraised: Array<string> = []
  let open: Array<Part> | undefined

  const assistant = (...parts: ReadonlyArray<Part>) => {
    if (open === undefined) messages.push({ role: "assistant", content: open = [] })
    open.push(...parts)
  }
  const other = (message: Message) => {
    open = undefined
    messages.push(message)
  }

  for (const [i, item] of items.entries()) {
    const at = `input[${i}]`
    const type = item["type"] ?? (item["role"] === undefined ? undefined : "message")
    switch (type) {
      case "message": {
        const role = roles[String(item["role"])]
        if (role === undefined) throw refuse(`${at}.role`, "must be user, assistant, system or developer")
        const content = contentOf(item["content"], `${at}.content`, unraised)
        if (role === "assistant") assistant(...content)
        else other({ role, content })
        break
      }
      case "reasoning":
        assistant(reasoningOf(item))
        break
      case "function_call":
        assistant({
          type: "tool_call",
          id: stringAt(item, "call_id", at),
          name: stringAt(item, "name", at),
          arguments: stringAt(item, "arguments", at)
        })
        break
      case "function_call_output": {
        // A program's call, which only OpenAI runs, has no id of its own.
        const callId = optionalAt(item, "call_id")
        if (callId === undefined && isRecord(item["caller"])) unraised.push(at)
        else other(outputOf(item, callId ?? stringAt(item, "call_id", at), at, unraised))
        break
      }
      case "item_reference":
        throw refuse(at, `no item '${optionalAt(item, "id") ?? ""}' is kept here; send the item itself, or keep responses with store: true`)
      case undefined:
        throw refuse(`${at}.type`, "is required")
      default:
        unraised.push(at)
    }
  }
  return { messages, unraised }
}
