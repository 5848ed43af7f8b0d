/** Messages as OpenAI's chat completions take them, made of the canonical ones or of the client's own. */
import { isBreakpoint, toCacheControl } from "../../domain/CacheMark.ts"
import type { FilePart, Message, Part, Source, TextPart, ToolResultPart } from "../../domain/Chat.ts"
import { text } from "../../domain/Chat.ts"
import * as Signature from "../../domain/Signature.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import { callId } from "./CallId.ts"
import type { Json } from "./Json.ts"
import { isJson, present } from "./Json.ts"
import type { Quirks } from "./OpenAiQuirks.ts"

// --- the canonical ones

const dataUrl = (mediaType: string, data: string): string => `data:${mediaType};base64,${data}`

const urlOf = (source: Source): string => (source.type === "url" ? source.url : dataUrl(source.mediaType, source.data))

/** Chat completions take PDF files only: a text file goes as its text, under its name. */
const textOfFile = ({ filename, source }: FilePart): string | undefined => {
  if (source.type === "url" || !source.mediaType.startsWith("text/")) return undefined
  const words = Buffer.from(source.data, "base64").toString("utf8")
  return filename === undefined ? words : `${filename}\n\n${words}`
}

const fileOf = (part: FilePart): Json =>
  present({ filename: part.filename ?? "file", file_data: part.source.type === "data" ? urlOf(part.source) : undefined })

/** A prompt caching mark in the vendor's words; OpenAI has none for another vendor's. */
const markOut = (mark: unknown, { cacheMark }: Quirks): Json =>
  cacheMark === null || (cacheMark === "prompt_cache_breakpoint" && !isBreakpoint(mark))
    ? {}
    : { [cacheMark]: cacheMark === "cache_control" ? toCacheControl(mark) : mark }

const partOut = (part: Part, quirks: Quirks): Json | undefined => {
  const mark = "cacheControl" in part ? markOut(part.cacheControl, quirks) : {}
  switch (part.type) {
    case "text":
      return present({ type: "text", text: part.text, ...mark })
    case "image":
      return present({ type: "image_url", image_url: present({ url: urlOf(part.source), detail: part.detail }), ...mark })
    case "file": {
      const words = textOfFile(part)
      return present(words === undefined ? { type: "file", file: fileOf(part), ...mark } : { type: "text", text: words, ...mark })
    }
    case "audio":
      return { type: "input_audio", input_audio: { data: part.data, format: part.format } }
    default:
      return undefined
  }
}

/** A single plain text is a string, as every vendor takes it; anything else a list of parts. */
const contentOut = (parts: ReadonlyArray<Part>, quirks: Quirks): unknown => {
  const out = parts.map((part) => partOut(part, quirks)).filter((part) => part !== undefined)
  const [only] = out
  return out.length === 1 && only?.["type"] === "text" && Object.keys(only).length === 2 ? only["text"] : out
}

/** Thoughts with their vendors' signatures, as OpenRouter takes them back; those that nobody signed are of no use there. */
const detailsOut = (content: ReadonlyArray<Part>): ReadonlyArray<Json> =>
  content.flatMap((part): ReadonlyArray<Json> => {
    if (part.type !== "reasoning") return []
    if (part.redacted !== undefined) return [{ type: "reasoning.encrypted", data: part.redacted, format: "anthropic-claude-v1" }]
    const google = Signature.unmarked("gemini", part.signature)
    if (google !== undefined) return [{ type: "reasoning.encrypted", data: google, format: "google-gemini-v1" }]
    const own = Signature.unmarked("openai", part.signature)
    if (own === undefined) {
      return part.signature === undefined
        ? []
        : [{ type: "reasoning.text", text: part.text, signature: part.signature, format: "anthropic-claude-v1" }]
    }
    const [id, data] = Signature.split(own)
    return [present({ type: "reasoning.encrypted", id: id || undefined, data, format: "openai-responses-v1" })]
  })

const thoughtsOut = (content: ReadonlyArray<Part>, { reasoningBack }: Quirks): Json => {
  if (reasoningBack === null) return {}
  if (reasoningBack === "reasoning_details") {
    const details = detailsOut(content)
    return { reasoning_details: details.length === 0 ? undefined : details }
  }
  if (!content.some(({ type }) => type === "tool_call")) return {}
  return { reasoning_content: content.map((part) => (part.type === "reasoning" ? part.text : "")).join("") || undefined }
}

const assistantOut = (message: Message, quirks: Quirks): Json => {
  const calls = message.content.filter((part) => part.type === "tool_call")
  const said = message.content.filter((part) => part.type === "text")
  const refused = message.content.filter((part) => part.type === "refusal").map((part) => part.text).join("")
  return {
    ...present({
      role: "assistant",
      name: message.name,
      refusal: refused || undefined,
      ...thoughtsOut(message.content, quirks),
      tool_calls: calls.length === 0 ? undefined : calls.map((call) => ({
        id: callId(call.id, quirks.callIds),
        type: "function",
        function: { name: call.name, arguments: call.arguments }
      }))
    }),
    content: said.length === 0 ? (calls.length > 0 || refused !== "" ? null : "") : contentOut(said, quirks)
  }
}

/** Tool messages hold text only: images of results follow in a user message. */
const toolResultOut = (result: ToolResultPart, quirks: Quirks): Json => {
  const texts: ReadonlyArray<TextPart> = result.content.filter((part) => part.type === "text")
  const words = texts.map((part) => part.text).join("")
  const said = result.isError === true && !/error/i.test(words) ? [text(`Error: ${words}`)] : texts.length === 0 ? [text("")] : texts
  const last = said.length - 1
  const marked = said.map((part, i) => (i === last && result.cacheControl !== undefined ? { ...part, cacheControl: result.cacheControl } : part))
  return { role: "tool", tool_call_id: callId(result.toolCallId, quirks.callIds), content: contentOut(marked, quirks) }
}

/** Results stand side by side behind the calls that they answer, so that their images wait for what comes after them. */
export const messagesOut = (messages: ReadonlyArray<Message>, quirks: Quirks): ReadonlyArray<Json> => {
  const out: Array<Json> = []
  let images: ReadonlyArray<Part> = []
  const release = () => {
    if (images.length > 0) out.push({ role: "user", content: contentOut(images, quirks) })
    images = []
  }
  for (const message of messages) {
    if (message.role === "assistant") {
      release()
      out.push(assistantOut(message, quirks))
      continue
    }
    const results = message.content.filter((part) => part.type === "tool_result")
    const rest = message.content.filter((part) => part.type !== "tool_result")
    out.push(...results.map((result) => toolResultOut(result, quirks)))
    images = [...images, ...results.flatMap((result) => result.content.filter((part) => part.type === "image"))]
    if (rest.length === 0 && results.length > 0) continue
    const role = message.role === "developer" && !quirks.developerRole ? "system" : message.role === "tool" ? "user" : message.role
    if (role !== "user") release()
    out.push(present({ role, name: message.name, content: contentOut([...images, ...rest], quirks) }))
    images = []
  }
  release()
  return out
}

// --- the client's own

/** Whether the messages have fields that some vendor refuses: thoughts, and marks for a cache. */
export const hasOwnFields = ({ messages }: ProviderCall["request"]): boolean =>
  messages.some(({ content }) => content.some((part) => part.type === "reasoning" || ("cacheControl" in part && part.cacheControl !== undefined)))

const thoughtFields = ["reasoning_content", "reasoning_details"] as const
const markFields = ["cache_control", "prompt_cache_breakpoint"] as const

const without = (fields: Json, names: ReadonlySet<string>): Json =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => !names.has(name)))

/** A client's own messages without the fields that this vendor refuses. */
export const ownMessages = (messages: unknown, { cacheMark, reasoningBack }: Quirks): unknown => {
  const thoughts = new Set<string>(reasoningBack === null ? thoughtFields : [])
  const marks = new Set<string>(markFields.filter((name) => name !== cacheMark))
  const bare = (part: unknown): unknown => (isJson(part) && markFields.some((name) => name in part) ? without(part, marks) : part)
  return !Array.isArray(messages) ? messages : messages.map((message: unknown) => {
    if (!isJson(message)) return message
    const { content } = message
    return without({ ...message, ...(Array.isArray(content) ? { content: content.map(bare) } : {}) }, thoughts)
  })
}
