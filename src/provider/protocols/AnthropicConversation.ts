/** A conversation as Anthropic's Messages API takes it: instructions, turns and their content blocks. */
import { isBreakpoint, toCacheControl } from "../../domain/CacheMark.ts"
import type { Message, Part, Source, ToolResultPart } from "../../domain/Chat.ts"
import { isMarked } from "../../domain/Signature.ts"
import { inputOf, toolUseId } from "../../domain/ToolUse.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"
import type { Json } from "./Json.ts"
import { present } from "./Json.ts"

// --- blocks

const sourceOut = (source: Source): Json =>
  source.type === "url" ? { type: "url", url: source.url } : { type: "base64", media_type: source.mediaType, data: source.data }

/** Text files go as text; PDF and the rest as base64. */
const documentSource = (source: Source): Json =>
  source.type === "data" && source.mediaType.startsWith("text/")
    ? { type: "text", media_type: "text/plain", data: Buffer.from(source.data, "base64").toString("utf8") }
    : sourceOut(source)

const resultOut = (part: ToolResultPart): Json =>
  present({
    type: "tool_result",
    tool_use_id: toolUseId(part.toolCallId),
    content: part.content.flatMap(blockOut),
    is_error: part.isError,
    ...markOut(part)
  })

const isBlank = (words: string): boolean => words.trim() === ""

const markOut = (part: { readonly cacheControl?: unknown }): Json => ({ cache_control: toCacheControl(part.cacheControl) })

/** A part as a content block; blank texts, which Anthropic refuses, and other vendors' thoughts are none. */
const blockOut = (part: Part): ReadonlyArray<Json> => {
  switch (part.type) {
    case "text":
      return isBlank(part.text) ? [] : [present({ type: "text", text: part.text, ...markOut(part) })]
    case "refusal":
      return isBlank(part.text) ? [] : [{ type: "text", text: part.text }]
    case "image":
      return [present({ type: "image", source: sourceOut(part.source), ...markOut(part) })]
    case "file":
      return [present({ type: "document", source: documentSource(part.source), title: part.filename, ...markOut(part) })]
    case "reasoning":
      if (part.redacted !== undefined) return [{ type: "redacted_thinking", data: part.redacted }]
      return part.signature === undefined || isMarked(part.signature)
        ? []
        : [{ type: "thinking", thinking: part.text, signature: part.signature }]
    case "tool_call":
      return [present({
        type: "tool_use",
        id: toolUseId(part.id),
        name: part.name,
        input: inputOf(part.arguments),
        ...markOut(part)
      })]
    case "tool_result":
      return [resultOut(part)]
    case "audio":
      return []
  }
}

const isSystem = ({ role }: Message): boolean => role === "system" || role === "developer"

/** One plain text is a string. */
export const contentOut = (blocks: ReadonlyArray<Json>): unknown => {
  const [only] = blocks
  return blocks.length === 1 && only?.["type"] === "text" && !("cache_control" in only) ? only["text"] : blocks
}

interface Turn {
  readonly role: "user" | "assistant" | "system"
  readonly content: Array<Json>
}

/** A conversation in Anthropic's form. */
interface Conversation {
  readonly system: ReadonlyArray<Json>
  readonly turns: ReadonlyArray<Turn>
}

/**
 * Turns alternate: neighbours of one role are one. Instructions in the middle stay near their place where the model takes them
 * there, behind the user's turn that they stand at; all others go to the top.
 */
export const conversationOut = (messages: ReadonlyArray<Message>, systemTurns: boolean): Conversation => {
  const system: Array<Json> = []
  const turns: Array<Turn> = []
  let waiting: ReadonlyArray<Json> = []
  const place = (to: ReadonlyArray<Json>, from = turns.at(-1)) => {
    if (waiting.length > 0 && from?.role === "user") turns.push({ role: "system", content: [...to] })
    else system.push(...to)
    waiting = []
  }
  for (const message of messages) {
    const blocks = message.content.flatMap(blockOut)
    if (isSystem(message)) {
      if (systemTurns && turns.length > 0) waiting = [...waiting, ...blocks]
      else system.push(...blocks)
      continue
    }
    if (blocks.length === 0) continue
    const role = message.role === "assistant" ? "assistant" : "user"
    if (role === "assistant") place(waiting)
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocks)
    else turns.push({ role, content: blocks })
  }
  place(waiting)
  // Instructions alone are a question here too.
  return turns.length === 0 ? { system: [], turns: system.length === 0 ? [] : [{ role: "user", content: system }] } : { system, turns }
}

const rank = (block: Json) => (block["type"] === "tool_result" ? 0 : 1)

/** Results of tools come first in their turn; an answer that is begun for the model does not end in a blank. */
export const turnOut = ({ content, role }: Turn, at: number, turns: ReadonlyArray<Turn>): Json => {
  const last = content.at(-1)
  const begun = at === turns.length - 1 && role === "assistant" && typeof last?.["text"] === "string"
  const blocks = begun ? [...content.slice(0, -1), { ...last, text: String(last["text"]).trimEnd() }] : content
  return { role, content: contentOut(blocks.toSorted((a, b) => rank(a) - rank(b))) }
}

/** As many blocks may be marked for the cache. */
const mostMarks = 4

/** OpenAI takes any number of its marks and heeds the latest; here the earliest go. */
export const withMarks = ({ system, turns }: Conversation, { messages, tools = [] }: ProviderCall["request"]): Conversation => {
  const translated = messages.some(({ content }) => content.some((part) => "cacheControl" in part && isBreakpoint(part.cacheControl)))
  if (!translated) return { system, turns }
  let over = tools.filter(({ cacheControl }) => cacheControl !== undefined).length - mostMarks
  for (const blocks of [system, ...turns.map(({ content }) => content)]) over += blocks.filter((block) => "cache_control" in block).length
  if (over <= 0) return { system, turns }
  const less = (blocks: ReadonlyArray<Json>): Array<Json> =>
    blocks.map(({ cache_control: mark, ...block }) => (mark === undefined || over-- > 0 ? block : { ...block, cache_control: mark }))
  return { system: less(system), turns: turns.map(({ content, role }) => ({ role, content: less(content) })) }
}
