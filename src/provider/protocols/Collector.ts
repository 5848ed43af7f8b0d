/** The parts of an answer, put together from its deltas; and the usage where a vendor's figures are missing. */
import type { Choice, Completion, Delta, FinishReason, Part } from "../../domain/Chat.ts"
import { ProviderError } from "../../domain/ProviderError.ts"
import type { ReportedUsage } from "../../domain/Usage.ts"
import { believe } from "../../domain/Usage.ts"
import type { ProviderCall } from "../ProviderAdapter.ts"

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type Building = Part extends infer P ? (P extends Part ? Mutable<P> : never) : never

/** Joins neighbouring deltas of one kind; a signature closes the thought that it signs. */
export class Collector {
  private readonly built: Array<Building> = []
  private last: Building | undefined
  /** By index; there once there is any. */
  private calls: Map<number, Extract<Building, { type: "tool_call" }>> | undefined

  push(delta: Delta): void {
    const { last } = this
    switch (delta.type) {
      case "text":
      case "refusal":
        if (last?.type === delta.type) last.text += delta.text
        else if (delta.text !== "") this.add({ type: delta.type, text: delta.text })
        return
      case "reasoning": {
        const unsigned = last?.type === "reasoning" && last.signature === undefined && last.redacted === undefined
        if (unsigned && delta.redacted === undefined) last.text += delta.text
        else this.add({ type: "reasoning", text: delta.text, ...(delta.redacted === undefined ? {} : { redacted: delta.redacted }) })
        if (delta.signature !== undefined && this.last?.type === "reasoning") this.last.signature = delta.signature
        return
      }
      case "tool_call": {
        const call = this.calls?.get(delta.index)
        if (call === undefined) {
          const made = { type: "tool_call" as const, id: delta.id ?? "", name: delta.name ?? "", arguments: delta.arguments }
          this.calls = (this.calls ?? new Map()).set(delta.index, made)
          this.add(made)
          return
        }
        call.id ||= delta.id ?? ""
        call.name ||= delta.name ?? ""
        call.arguments += delta.arguments
      }
    }
  }

  parts(): ReadonlyArray<Part> {
    return this.built
  }

  private add(part: Building): void {
    this.built.push(part)
    this.last = part
  }
}

/** A rough count of what was generated: four characters a token. */
const estimate = (choices: ReadonlyArray<Choice>): number => {
  let characters = 0
  for (const { content } of choices) {
    for (const part of content) {
      if (part.type === "tool_call") characters += part.name.length + part.arguments.length
      else if ("text" in part) characters += part.text.length
    }
  }
  return Math.ceil(characters / 4)
}

export interface Answer {
  readonly upstreamModel: string | undefined
  readonly upstreamId: string | undefined
  readonly choices: ReadonlyArray<Choice>
  readonly usage: ReportedUsage | undefined
  readonly logprobs?: unknown
}

/** The canonical completion of an answer; no choice at all is `empty_completion` (FAULTS.md row 40). */
export const completionOf = (call: ProviderCall, answer: Answer): Completion | ProviderError => {
  const [first, ...others] = answer.choices
  if (first === undefined) {
    return new ProviderError({ fault: "empty_completion", message: "The provider answered without any choice", sent: true })
  }
  return {
    ...first,
    upstreamModel: answer.upstreamModel ?? call.upstreamModel,
    usage: believe(answer.usage, { promptTokens: call.estimatedPromptTokens, completionTokens: estimate(answer.choices) }),
    ...(others.length === 0 ? {} : { alternatives: others }),
    ...(answer.logprobs === undefined || answer.logprobs === null ? {} : { logprobs: answer.logprobs }),
    ...(answer.upstreamId === undefined ? {} : { upstreamId: answer.upstreamId })
  }
}

/** The end of a stream as an event, or why it is none. */
export const endOf = (call: ProviderCall, answer: Answer) => {
  const completion = completionOf(call, answer)
  return completion instanceof ProviderError ? completion : { type: "end" as const, completion }
}

/** A stream that ended without saying so (FAULTS.md row 24). */
export const interrupted = (): ProviderError =>
  new ProviderError({ fault: "stream_interrupted", message: "The provider's stream ended before the answer did", sent: true })

/** A finish reason by the content it comes with: some vendors say `stop` after tool calls or a refusal. */
export const finishOf = (said: FinishReason, content: ReadonlyArray<Part>): FinishReason =>
  said !== "stop"
    ? said
    : content.some((part) => part.type === "tool_call")
    ? "tool_calls"
    : content.some((part) => part.type === "refusal") && !content.some((part) => part.type === "text")
    ? "refusal"
    : "stop"
