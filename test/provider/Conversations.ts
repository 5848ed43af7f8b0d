/**
 * Conversations at random, as clients have them: instructions in the middle, blank and empty texts, thoughts of every vendor, parallel
 * calls whose results come one by one or together, with pictures, ids of any length, and a last turn without tools.
 */
import { Schema } from "effect"
import type { ChatRequest, Message, Part, TextPart, ToolResultPart } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { png } from "./Conversation.ts"

const Flag = Schema.Boolean
const Id = Schema.String.check(Schema.isPattern(/^[a-zA-Z][a-zA-Z0-9_-]{0,20}$/))
const Words = Schema.Union([Schema.String, Schema.Literals(["", " ", "\n", "Hi ", "{\"a\":1}", "[1]"])])

const Said = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("text"), text: Words, mark: Flag }),
  Schema.Struct({ kind: Schema.Literal("image"), url: Flag })
])

const Call = Schema.Struct({
  name: Id,
  long: Flag,
  arguments: Schema.Union([Schema.Literals(["", "{}", "{\"a\":1}", "[1]", "no JSON", "{\"a\":"]), Words]),
  results: Schema.Array(Schema.Union([Words, Schema.Literal("an image")])),
  failed: Schema.NullOr(Flag)
})

const Turn = Schema.Struct({
  before: Schema.NullOr(Schema.Struct({ role: Schema.Literals(["system", "developer"]), text: Words })),
  said: Schema.NonEmptyArray(Said),
  after: Schema.NullOr(Words),
  thoughts: Schema.Array(Schema.Literals(["anthropic", "redacted", "gemini", "openai", "unsigned"])),
  answers: Schema.Array(Words),
  refused: Flag,
  calls: Schema.Array(Call),
  together: Flag
})

export const Drawn = Schema.Struct({
  turns: Schema.NonEmptyArray(Turn),
  last: Said,
  tools: Flag,
  choice: Schema.NullOr(Schema.Literals(["auto", "none", "required", "named"])),
  serial: Schema.NullOr(Flag),
  effort: Schema.NullOr(Schema.Literals(["none", "low", "high"])),
  format: Schema.Literals(["none", "text", "json_schema"]),
  stop: Schema.Literals([0, 1, 3]),
  stream: Flag
})

const saidPart = (said: typeof Said.Type): Part =>
  said.kind === "text"
    ? { ...text(said.text), ...(said.mark ? { cacheControl: { mode: "explicit", ttl: "12h" } } : {}) }
    : { type: "image", source: said.url ? { type: "url", url: "https://e.com/a.png" } : { type: "data", mediaType: "image/png", data: png } }

const thoughts = {
  anthropic: { type: "reasoning", text: "hm", signature: "c2ln" },
  redacted: { type: "reasoning", text: "", redacted: "ZW5j" },
  gemini: { type: "reasoning", text: "hm", signature: "gemini:c2ln" },
  openai: { type: "reasoning", text: "hm", signature: "openai:rs_1:gAAA" },
  unsigned: { type: "reasoning", text: "hm" }
} as const

const resultOf = ({ failed, results }: typeof Call.Type, toolCallId: string): ToolResultPart => ({
  type: "tool_result",
  toolCallId,
  content: results.map((result): TextPart | ToolResultPart["content"][number] =>
    result === "an image" ? { type: "image", source: { type: "data", mediaType: "image/png", data: png } } : text(result)),
  ...(failed === null ? {} : { isError: failed })
})

/** Texts of everything said, in order. */
export const wordsOf = ({ last, turns }: typeof Drawn.Type): ReadonlyArray<string> => [
  ...turns.flatMap(({ after, answers, before, calls, said }) => [
    ...(before === null ? [] : [before.text]),
    ...said.flatMap((part) => (part.kind === "text" ? [part.text] : [])),
    ...(after === null ? [] : [after]),
    ...answers,
    ...calls.map(({ name }) => name)
  ]),
  ...(last.kind === "text" ? [last.text] : [])
]

const isEmpty = (content: ReadonlyArray<Part>): boolean => content.every((part) => part.type === "text" && part.text.trim() === "")

/** A question that is nothing but blanks is none. */
const asked = (content: ReadonlyArray<Part>): ReadonlyArray<Part> => (isEmpty(content) ? [...content, text("Hi")] : content)

const messagesOf = ({ last, turns }: typeof Drawn.Type): ReadonlyArray<Message> => [
  ...turns.flatMap(({ after, answers, before, calls, refused, said, thoughts: drawn, together }, at): ReadonlyArray<Message> => {
    const made = calls.map((call, i) => ({ ...call, id: `${call.long ? `functions.${"x".repeat(50)}:` : "call_"}${at}_${i}` }))
    const results = made.map((call) => resultOf(call, call.id))
    return [
      ...(before === null ? [] : [{ role: before.role, content: [text(before.text)] }]),
      { role: "user", content: asked(said.map(saidPart)) },
      ...(after === null ? [] : [{ role: "system" as const, content: [text(after)] }]),
      {
        role: "assistant",
        content: [
          ...drawn.map((vendor) => thoughts[vendor]),
          ...answers.map(text),
          ...(refused ? [{ type: "refusal", text: "I can't" } as const] : []),
          ...made.map(({ arguments: json, id, name }) => ({ type: "tool_call", id, name, arguments: json }) as const)
        ]
      },
      ...(results.length === 0
        ? []
        : together
        ? [{ role: "user" as const, content: [...results, text("Go on")] }]
        : results.map((result) => ({ role: "tool" as const, content: [result] })))
    ]
  }),
  { role: "user", content: asked([saidPart(last)]) }
]

const schema = { type: "object", properties: { a: { type: "object", properties: {} } }, required: ["a"] }

/** A request whose every tool is one that the conversation knows. */
export const requestOf = (drawn: typeof Drawn.Type): ChatRequest => {
  const messages = messagesOf(drawn)
  const names = [...new Set(["look", ...messages.flatMap(({ content }) => content.flatMap((part) => (part.type === "tool_call" ? [part.name] : [])))])]
  return {
    messages,
    maxTokens: 30_000,
    ...(drawn.tools ? { tools: names.map((name) => ({ name, parameters: {} })) } : {}),
    ...(drawn.choice === null ? {} : { toolChoice: drawn.choice === "named" ? { name: "look" } : drawn.choice }),
    ...(drawn.serial === null ? {} : { parallelToolCalls: drawn.serial }),
    ...(drawn.effort === null ? {} : { reasoning: { effort: drawn.effort } }),
    ...(drawn.format === "none"
      ? {}
      : { responseFormat: drawn.format === "text" ? { type: "text" } : { type: "json_schema", name: "a", schema, strict: false } }),
    ...(drawn.stop === 0 ? {} : { stop: Array.from({ length: drawn.stop }, (_, i) => `END${i}`) })
  }
}
