/** A run's deltas lowered to the typed events of OpenAI's Responses API. */
import type { Delta, Frame, Part } from "../../domain/Chat.ts"
import { toolCallsOf } from "../../domain/Chat.ts"
import type { RunEvent } from "../../orchestrate/Run.ts"
import type { AnswerFacts, Json, StreamEncoder, WireEvent } from "../Door.ts"
import { isRecord } from "../Json.ts"
import { codeOf } from "./OpenAiResponsesErrors.ts"
import { seal } from "./OpenAiResponsesInput.ts"
import type { ItemStatus } from "./OpenAiResponsesOutput.ts"
import {
  argumentsOf,
  begun,
  callItem,
  ended,
  itemId,
  lastStatusOf,
  logprobsOf,
  messageItem,
  reasoningItem,
  refusalPart,
  summaryPart,
  textPart
} from "./OpenAiResponsesOutput.ts"

/** The message that is being written; its last part is open. */
interface OpenMessage {
  readonly type: "message"
  readonly place: number
  readonly done: Array<Json>
  part: { readonly type: "text" | "refusal"; text: string }
}

interface OpenThought {
  readonly type: "reasoning"
  readonly place: number
  text: string
}

/** A call; it has a place once its name is known. */
interface OpenCall {
  place: number | undefined
  id: string
  name: string
  arguments: string
}

/** A whole answer as the deltas that it would have come in, for one that came in none. */
const deltasOf = (content: ReadonlyArray<Part>): ReadonlyArray<Delta> => {
  const calls = toolCallsOf(content)
  return content.flatMap((part): ReadonlyArray<Delta> =>
    part.type === "tool_call"
      ? [{ type: "tool_call", index: calls.indexOf(part), id: part.id, name: part.name, arguments: part.arguments }]
      : part.type === "text" || part.type === "refusal" || part.type === "reasoning"
      ? [part]
      : []
  )
}

export const encoder = (facts: AnswerFacts, body: Json): StreamEncoder => {
  const output: Array<Json> = []
  const calls = new Map<number, OpenCall>()
  let places = 0
  let sequence = 0
  let opened = false
  let answered = false
  let current: OpenMessage | OpenThought | undefined
  let out: Array<WireEvent> = []
  let passed: { readonly first: Frame; readonly last: Frame } | undefined

  const send = (type: string, fields: Json) => {
    out.push({ event: type, data: JSON.stringify({ type, sequence_number: sequence++, ...fields }) })
  }
  const taken = (): ReadonlyArray<WireEvent> => {
    const events = out
    out = []
    return events
  }
  const open = () => {
    if (opened) return
    opened = true
    send("response.created", { response: begun(facts, body) })
    send("response.in_progress", { response: begun(facts, body) })
  }
  const added = (place: number, item: Json) => send("response.output_item.added", { output_index: place, item })
  const done = (place: number, item: Json) => {
    output[place] = item
    send("response.output_item.done", { output_index: place, item })
  }

  // Messages.

  const messageId = ({ place }: OpenMessage) => itemId(facts, "msg", place)
  const partAt = (message: OpenMessage): Json => ({
    item_id: messageId(message),
    output_index: message.place,
    content_index: message.done.length
  })
  const emptyPart = (type: "text" | "refusal") => (type === "text" ? textPart("") : refusalPart(""))
  const closePart = (message: OpenMessage, logprobs: ReadonlyArray<unknown>) => {
    const { text, type } = message.part
    const at = partAt(message)
    const part = type === "text" ? textPart(text, logprobs) : refusalPart(text)
    if (type === "text") send("response.output_text.done", { ...at, text, logprobs })
    else send("response.refusal.done", { ...at, refusal: text })
    send("response.content_part.done", { ...at, part })
    message.done.push(part)
  }
  const openPart = (message: OpenMessage) =>
    send("response.content_part.added", { ...partAt(message), part: emptyPart(message.part.type) })
  const say = (type: "text" | "refusal", text: string) => {
    if (text === "") return
    open()
    let message: OpenMessage
    if (current?.type === "message") {
      message = current
      if (message.part.type !== type) {
        closePart(message, [])
        message.part = { type, text: "" }
        openPart(message)
      }
    } else {
      close()
      message = current = { type: "message", place: places++, done: [], part: { type, text: "" } }
      added(message.place, messageItem(messageId(message), [], "in_progress"))
      openPart(message)
    }
    message.part.text += text
    if (type === "text") send("response.output_text.delta", { ...partAt(message), delta: text, logprobs: [] })
    else send("response.refusal.delta", { ...partAt(message), delta: text })
  }

  // Thoughts.

  const thoughtId = ({ place }: OpenThought) => itemId(facts, "rs", place)
  const thoughtAt = (thought: OpenThought): Json => ({
    item_id: thoughtId(thought),
    output_index: thought.place,
    summary_index: 0
  })
  const closeThought = (thought: OpenThought, encrypted: string | undefined, status: ItemStatus = "completed") => {
    const { place, text } = thought
    if (text !== "") {
      send("response.reasoning_summary_text.done", { ...thoughtAt(thought), text })
      send("response.reasoning_summary_part.done", { ...thoughtAt(thought), part: summaryPart(text) })
    }
    done(place, reasoningItem(thoughtId(thought), text, encrypted, status))
    current = undefined
  }
  const think = (text: string, encrypted: string | undefined, alone: boolean) => {
    if (text === "" && encrypted === undefined) return
    open()
    if (current?.type !== "reasoning" || alone) {
      close()
      current = { type: "reasoning", place: places++, text: "" }
      added(current.place, reasoningItem(thoughtId(current), "", undefined, "in_progress"))
    }
    if (text !== "") {
      if (current.text === "") {
        send("response.reasoning_summary_part.added", { ...thoughtAt(current), part: summaryPart("") })
      }
      current.text += text
      send("response.reasoning_summary_text.delta", { ...thoughtAt(current), delta: text })
    }
    if (encrypted !== undefined) closeThought(current, encrypted)
  }

  /** Closes the message or the thought that is open. */
  const close = (logprobs: ReadonlyArray<unknown> = [], status: ItemStatus = "completed") => {
    if (current?.type === "reasoning") return closeThought(current, undefined, status)
    if (current === undefined) return
    closePart(current, logprobs)
    done(current.place, messageItem(messageId(current), current.done, status))
    current = undefined
  }

  // Calls stay open to the end, since providers may write several at once.

  const callAt = (place: number): Json => ({ item_id: itemId(facts, "fc", place), output_index: place })
  const input = (place: number, delta: string) => {
    if (delta !== "") send("response.function_call_arguments.delta", { ...callAt(place), delta })
  }
  const begin = (call: OpenCall): number => {
    open()
    close()
    const place = call.place = places++
    added(place, callItem(itemId(facts, "fc", place), { ...call, arguments: "" }, "in_progress"))
    return place
  }
  const call = (delta: Extract<Delta, { type: "tool_call" }>) => {
    const known = calls.get(delta.index) ?? { place: undefined, id: "", name: "", arguments: "" }
    calls.set(delta.index, known)
    known.id ||= delta.id ?? ""
    known.name ||= delta.name ?? ""
    known.arguments += delta.arguments
    if (known.place !== undefined) return input(known.place, delta.arguments)
    if (known.name !== "" && known.id !== "") input(begin(known), known.arguments)
  }
  const closeCalls = (statusAt: (place: number) => ItemStatus) => {
    for (const made of calls.values()) {
      const text = argumentsOf(made.arguments)
      const place = made.place ?? begin(made)
      if (made.arguments === "") input(place, text)
      send("response.function_call_arguments.done", { ...callAt(place), name: made.name, arguments: text })
      done(place, callItem(itemId(facts, "fc", place), { ...made, arguments: text }, statusAt(place)))
    }
  }

  const accept = (delta: Delta) => {
    switch (delta.type) {
      case "text":
      case "refusal":
        return say(delta.type, delta.text)
      case "reasoning":
        return think(delta.text, seal(delta), delta.redacted !== undefined)
      case "tool_call":
        return call(delta)
    }
  }

  /** The response as it stands: the provider's own where its events went through. */
  const unfinished = (): Json => {
    if (passed === undefined) return { ...begun(facts, body), output: output.filter(Boolean) }
    sequence = sequenceOf(passed.last) + 1
    return responseOf(passed.first) ?? begun(facts, body)
  }

  return {
    passed: (frame) => {
      passed = { first: passed?.first ?? frame, last: frame }
    },
    delta: (delta) => {
      answered = true
      accept(delta)
      return taken()
    },
    step: (event) => {
      const note = noteOf(event)
      if (note !== undefined) think(note, undefined, event.type === "step.started")
      return taken()
    },
    end: (result) => {
      open()
      if (!answered) for (const delta of deltasOf(result.completion.content)) accept(delta)
      const statusAt = (place: number | undefined) => (place === places - 1 ? lastStatusOf(result) : "completed")
      close(logprobsOf(result), statusAt(current?.place))
      closeCalls(statusAt)
      const response = ended(result, facts, body, output)
      send(`response.${String(response["status"])}`, { response })
      return taken()
    },
    fail: (failure) => {
      if (passed === undefined) open()
      const error = { code: codeOf(failure), message: failure.message }
      const response = { ...unfinished(), status: "failed", error }
      send("response.failed", { response })
      return taken()
    }
  }
}

const parsed = ({ data }: Frame): Json => {
  try {
    return Object(JSON.parse(data))
  } catch {
    return {}
  }
}

const sequenceOf = (frame: Frame): number => {
  const { sequence_number: number } = parsed(frame)
  return typeof number === "number" ? number : 0
}

const responseOf = (frame: Frame): Json | undefined => {
  const { response } = parsed(frame)
  return isRecord(response) ? response : undefined
}

/** A mode's steps in the place of thoughts: their names and what they write; the answer itself is not repeated there. */
const noteOf = (event: RunEvent): string | undefined => {
  switch (event.type) {
    case "step.started":
      return `**${event.step}**\n\n`
    case "step.delta":
      return !event.final && event.delta.type === "text" ? event.delta.text : undefined
    default:
      return undefined
  }
}
