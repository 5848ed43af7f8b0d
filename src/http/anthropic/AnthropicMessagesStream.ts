/**
 * Anthropic's Messages API as a door: streams. Blocks come one after the other there, each opened, filled and closed; deltas
 * that belong to a later block wait until the one before it is complete.
 */
import type { Delta, Frame } from "../../domain/Chat.ts"
import { toolUseId } from "../../domain/ToolUse.ts"
import * as Usages from "../../domain/Usage.ts"
import type { RunEvent, RunResult } from "../../orchestrate/Run.ts"
import { errorBody, messageOf, stopOf, usageOf } from "./AnthropicMessagesAnswer.ts"
import type { AnswerFacts, Json, StreamEncoder, WireEvent } from "../Door.ts"
import type { Failure } from "../Failure.ts"

const event = (type: string, fields: Json): WireEvent => ({ event: type, data: JSON.stringify({ type, ...fields }) })

// --- blocks

interface TextBlock {
  readonly type: "text"
  waiting: string
}

interface ThinkingBlock {
  readonly type: "thinking"
  /** Of a step, not of the answer, whose thoughts may be signed. */
  readonly ofStep: boolean
  waiting: string
  signature: string | undefined
}

interface RedactedBlock {
  readonly type: "redacted_thinking"
  readonly data: string
}

interface ToolBlock {
  readonly type: "tool_use"
  readonly index: number
  id: string
  name: string
  /** All that came of the input, and the part of it that was not sent yet. */
  input: string
  waiting: string
}

type Block = TextBlock | ThinkingBlock | RedactedBlock | ToolBlock

const isWhole = (json: string): boolean => {
  try {
    JSON.parse(json)
    return true
  } catch {
    return false
  }
}

/** A block that can't get anything more, now that another one began. */
const isDone = (block: Block): boolean => block.type !== "tool_use" || (block.input.trimEnd().endsWith("}") && isWhole(block.input))

const opened = (block: Block, requestId: string): Json => {
  switch (block.type) {
    case "text":
      return { type: "text", text: "", citations: null }
    case "thinking":
      return { type: "thinking", thinking: "", signature: "" }
    case "redacted_thinking":
      return { type: "redacted_thinking", data: block.data }
    case "tool_use":
      return {
        type: "tool_use",
        id: block.id === "" ? `toolu_${requestId}_${block.index}` : toolUseId(block.id),
        name: block.name,
        input: {},
        caller: { type: "direct" }
      }
  }
}

/** What waits in a block, as deltas; nothing waits any more. */
const filled = (block: Block): ReadonlyArray<Json> => {
  if (block.type === "redacted_thinking") return []
  const { waiting } = block
  block.waiting = ""
  switch (block.type) {
    case "text":
      return waiting === "" ? [] : [{ type: "text_delta", text: waiting }]
    case "thinking": {
      const { signature } = block
      return [
        ...(waiting === "" ? [] : [{ type: "thinking_delta", thinking: waiting }]),
        ...(signature === undefined ? [] : [{ type: "signature_delta", signature }])
      ]
    }
    case "tool_use":
      return waiting === "" ? [] : [{ type: "input_json_delta", partial_json: waiting }]
  }
}

// --- stream out

/** Whether an event of Anthropic's own stream has content: what begins a message, or a text or thought still empty, has none. */
export const hasContent = ({ data, event: name }: Frame): boolean => {
  // Some servers leave the event's name to its data.
  const event = name ?? /^\s*\{\s*"type"\s*:\s*"(\w+)"/.exec(data)?.[1]
  return event !== "message_start" && event !== "ping" && !(event === "content_block_start" && /"type":\s*"(?:text|thinking)"/.test(data))
}

export const encoder = (facts: AnswerFacts): StreamEncoder => {
  /** Blocks that began and are not closed; only the first is open on the wire. */
  const blocks: Array<Block> = []
  const tools = new Map<number, ToolBlock>()
  let begun = false
  /** The provider's own stream has told its end. */
  let stopped = false
  let headOpen = false
  let index = 0
  let stepShown: string | undefined

  const begin = (): ReadonlyArray<WireEvent> => {
    if (begun) return []
    begun = true
    const usage = usageOf({ ...Usages.zero, promptTokens: facts.promptTokens ?? 0 })
    return [event("message_start", { message: messageOf(facts, usage, {}) })]
  }

  /** Sends what the first blocks have to send, and closes those that are done. `over`: nothing more comes. */
  const flush = (over: boolean): ReadonlyArray<WireEvent> => {
    const out: Array<WireEvent> = []
    for (let head = blocks[0]; head !== undefined; head = blocks[0]) {
      const last = blocks.length === 1
      // Its block can't be opened without a name, and an id that comes late can't be told later.
      if (head.type === "tool_use" && !headOpen && !over && (head.name === "" || (head.id === "" && last))) break
      if (!headOpen) {
        out.push(...begin(), event("content_block_start", { index, content_block: opened(head, facts.requestId) }))
        headOpen = true
      }
      out.push(...filled(head).map((delta) => event("content_block_delta", { index, delta })))
      const complete = head.type === "redacted_thinking" || (head.type === "thinking" && head.signature !== undefined)
      if (!over && !complete && (last || !isDone(head))) break
      out.push(event("content_block_stop", { index }))
      blocks.shift()
      headOpen = false
      index++
    }
    return out
  }

  const add = (block: Block): void => void blocks.push(block)

  const addText = (text: string): void => {
    const last = blocks.at(-1)
    if (last?.type === "text") last.waiting += text
    else add({ type: "text", waiting: text })
  }

  const addThought = (text: string, signature: string | undefined, ofStep = false): void => {
    const last = blocks.at(-1)
    const goesOn = last?.type === "thinking" && last.signature === undefined && last.ofStep === ofStep
    if (!goesOn) return add({ type: "thinking", ofStep, waiting: text, signature })
    last.waiting += text
    last.signature = signature
  }

  const addTool = ({ arguments: json, id = "", index, name = "" }: Extract<Delta, { type: "tool_call" }>): void => {
    const known = tools.get(index)
    if (known === undefined) {
      const made: ToolBlock = { type: "tool_use", index, id, name, input: json, waiting: json }
      tools.set(index, made)
      return add(made)
    }
    known.id ||= id
    known.name ||= name
    known.input += json
    known.waiting += json
  }

  const delta = (delta: Delta): ReadonlyArray<WireEvent> => {
    switch (delta.type) {
      case "text":
      case "refusal":
        if (delta.text === "") return []
        addText(delta.text)
        break
      case "reasoning":
        if (delta.redacted !== undefined) add({ type: "redacted_thinking", data: delta.redacted })
        else if (delta.text === "" && delta.signature === undefined) return []
        else addThought(delta.text, delta.signature)
        break
      case "tool_call":
        addTool(delta)
    }
    return flush(false)
  }

  /** Drafts and critiques are shown as thoughts, each step under its name. */
  const step = (told: RunEvent): ReadonlyArray<WireEvent> => {
    if (told.type === "call.started") stepShown = undefined
    if (told.type !== "step.delta" || told.final || told.delta.type !== "text" || told.delta.text === "") return []
    const heading = stepShown === told.step ? "" : `${begun ? "\n\n" : ""}[${told.step}]\n`
    stepShown = told.step
    addThought(heading + told.delta.text, undefined, true)
    return flush(false)
  }

  const end = ({ completion, usage }: RunResult): ReadonlyArray<WireEvent> => [
    ...begin(),
    ...flush(true),
    event("message_delta", { delta: { ...stopOf(completion), container: null }, usage: usageOf(usage) }),
    event("message_stop", {})
  ]

  const fail = (failure: Failure): ReadonlyArray<WireEvent> => [
    { event: "error", data: JSON.stringify(errorBody(failure, facts.requestId)) }
  ]

  const passed = ({ event }: Frame): void => void (stopped ||= event === "message_stop")

  // A connection that closed after `stop_reason` brought the whole answer.
  const endPassed = (): ReadonlyArray<WireEvent> => (stopped ? [] : [event("message_stop", {})])

  return { delta, step, end, endPassed, fail, passed }
}
