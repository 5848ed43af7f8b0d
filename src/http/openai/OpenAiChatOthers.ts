/**
 * What a request of OpenAI's chat completions has beside what the canonical form knows: parts, tools and calls of other kinds, and
 * what came before tools. It is put aside before the rest is decoded; only providers of the same protocol get it. Pure functions.
 */
import type { Json } from "../Door.ts"
import { isRecord } from "../Json.ts"

export interface PutAside {
  /** The body without it. Where it stood in a list there is a blank, so that paths stay true. */
  readonly rest: Json
  /** Its paths. */
  readonly paths: ReadonlySet<string>
  /** Whether a part may hold bytes. */
  readonly media: boolean
}

const nothing: ReadonlySet<string> = new Set()

const partKinds: ReadonlySet<unknown> = new Set(["text", "refusal", "image_url", "input_audio", "file"])

const isSet = (value: unknown): boolean => value !== undefined && value !== null

/** A text, a number or nothing is no other kind, but a mistake, which the decoder tells. */
const isOther = (value: unknown, kinds: ReadonlySet<unknown>): value is Json =>
  isRecord(value) && typeof value["type"] === "string" && !kinds.has(value["type"])

/** A file by the id that it has at OpenAI. */
const isKept = (part: unknown): boolean =>
  isRecord(part) && part["type"] === "file" && isRecord(part["file"]) && typeof part["file"]["file_id"] === "string" && !isSet(part["file"]["file_data"])

const functions: ReadonlySet<unknown> = new Set(["function"])

const blankPart = { type: "text", text: "" }
const blankMessage = { role: "user", content: "" }
const blankCall = { id: "", type: "function", function: { name: "", arguments: "" } }
const blankTool = { type: "function", function: { name: "" } }

/** Fields of an assistant's message that only OpenAI knows what to do with. */
const assistantFields: ReadonlyArray<string> = ["audio", "function_call"]

/** Fields of the request from before there were tools. */
const legacyFields: ReadonlyArray<string> = ["functions", "function_call"]

const formats: ReadonlySet<unknown> = new Set(["text", "json_object", "json_schema"])

/** What stands in the request beside the canonical form. A body that has nothing of it is its own rest. */
export const putAside = (body: Json): PutAside => {
  const paths = new Set<string>()
  let media = false

  const list = (values: unknown, at: string, isAside: (value: unknown) => boolean, blank: Json): unknown => {
    if (!Array.isArray(values) || !values.some(isAside)) return values
    return values.map((value: unknown, i) => {
      if (!isAside(value)) return value
      paths.add(`${at}[${i}]`)
      return blank
    })
  }
  const messageOf = (message: unknown, i: number): unknown => {
    if (!isRecord(message)) return message
    const at = `messages[${i}]`
    if (message["role"] === "function") {
      paths.add(at)
      return blankMessage
    }
    const before = paths.size
    const content = list(message["content"], `${at}.content`, (part) => isOther(part, partKinds) || isKept(part), blankPart)
    media ||= paths.size > before
    if (message["role"] !== "assistant") return content === message["content"] ? message : { ...message, content }
    for (const name of assistantFields) if (isSet(message[name])) paths.add(`${at}.${name}`)
    const calls = list(message["tool_calls"], `${at}.tool_calls`, (call) => isOther(call, functions), blankCall)
    return content === message["content"] && calls === message["tool_calls"]
      ? message
      : { ...message, ...(content === undefined ? {} : { content }), ...(calls === undefined ? {} : { tool_calls: calls }) }
  }

  const { messages, response_format: format, tool_choice: choice } = body
  const raised: unknown = Array.isArray(messages) ? messages.map(messageOf) : messages
  const tools = list(body["tools"], "tools", (tool) => isOther(tool, functions), blankTool)
  const fields = legacyFields.filter((name) => isSet(body[name]))
  if (isOther(choice, functions)) fields.push("tool_choice")
  if (isOther(format, formats)) fields.push("response_format")
  for (const name of fields) paths.add(name)
  if (paths.size === 0) return { rest: body, paths: nothing, media: false }
  const kept = Object.fromEntries(Object.entries(body).filter(([name]) => !fields.includes(name)))
  return { rest: { ...kept, messages: raised, ...(tools === undefined ? {} : { tools }) }, paths, media }
}
