/**
 * From a run's events to one client's stream. Frames that open a message wait for the first content, and those of a call that
 * was followed by another before that are dropped; the provider's own frames pass as they came. No I/O.
 */
import type { Frame } from "../domain/Chat.ts"
import { formatUsd } from "../domain/Money.ts"
import type { RunEvent, RunResult } from "../orchestrate/Run.ts"
import type { AnswerFacts, Door, Json, StreamEncoder } from "./Door.ts"
import type { Failure } from "./ErrorEnvelope.ts"
import type { Emission } from "./EventStream.ts"

export interface StreamOptions {
  readonly door: Door
  readonly facts: Omit<AnswerFacts, "model">
  readonly body: Json
  /** The client's own name for the model, for a stream that fails before any model was asked. */
  readonly model: string
  /** The client wants to see the steps. */
  readonly events: boolean
}

const none: ReadonlyArray<Emission> = []

const comment = (name: string, facts: Json): Emission => ({ comment: `${name} ${JSON.stringify(facts)}` })

/** A step as a line that clients skip. */
const commentOf = (event: RunEvent): ReadonlyArray<Emission> => {
  switch (event.type) {
    case "step.started":
      return [comment(event.type, { step: event.step })]
    case "call.started":
      return [comment(event.type, { step: event.step, model: event.model, provider: event.provider })]
    case "step.delta":
      return event.delta.type === "text" ? [comment(event.type, { step: event.step, text: event.delta.text })] : none
    case "step.completed":
      return [comment(event.type, {
        step: event.step,
        model: event.result.model,
        provider: event.result.provider,
        cost_usd: formatUsd(event.result.cost)
      })]
    case "step.frame":
      return none
  }
}

export class DoorStream {
  private readonly door: Door
  private readonly options: StreamOptions
  private encoder: StreamEncoder | undefined
  private call: Extract<RunEvent, { type: "call.started" }> | undefined
  private calls = 0
  /** The provider's own events are the client's. */
  private native = false
  private begun = false
  private held: Array<Emission> = []

  constructor(options: StreamOptions) {
    this.door = options.door
    this.options = options
  }

  /** What to send now. */
  event(event: RunEvent): ReadonlyArray<Emission> {
    switch (event.type) {
      case "call.started": {
        this.call = event
        this.calls++
        this.native = false
        if (!this.begun) {
          this.encoder = undefined
          this.held = this.held.filter((emission) => "comment" in emission)
        }
        return this.options.events ? this.hold(commentOf(event)) : none
      }
      case "step.frame":
        return this.pass(event.frame, event.content)
      case "step.delta":
        if (event.final) return this.send(this.encoding().delta(event.delta))
        return this.options.events ? this.aside(event) : none
      case "step.started":
      case "step.completed":
        if (!this.options.events) return none
        return this.begun ? this.aside(event) : this.hold(commentOf(event))
    }
  }

  end(result: RunResult): ReadonlyArray<Emission> {
    const completed = { mode: result.mode, attempts: result.attempts.length, cost_usd: formatUsd(result.cost) }
    return [
      ...(this.options.events ? this.send([comment("run.completed", completed)]) : none),
      ...this.send(this.native ? [...this.encoding().endPassed?.() ?? [], ...this.door.terminal] : this.encoding().end(result)),
      ...this.held
    ]
  }

  /** Once something was sent: a stream that failed before that is answered by an HTTP status. */
  fail(failure: Failure): ReadonlyArray<Emission> {
    return this.send(this.encoding().fail(failure))
  }

  /** What is known of the run by now, for the headers. */
  headers(): { readonly [name: string]: string } {
    return {
      ...(this.call === undefined ? {} : { "x-tokenhub-model": this.call.model, "x-tokenhub-provider": this.call.provider }),
      "x-tokenhub-attempts": String(this.calls)
    }
  }

  private encoding(): StreamEncoder {
    return this.encoder ??= this.door.encoder({
      ...this.options.facts,
      model: this.call?.model ?? this.options.model,
      ...(this.call === undefined ? {} : { promptTokens: this.call.estimatedPromptTokens })
    }, this.options.body)
  }

  private send(emissions: ReadonlyArray<Emission>): ReadonlyArray<Emission> {
    if (emissions.length === 0) return none
    this.begun = true
    if (this.held.length === 0) return emissions
    return [...this.held.splice(0), ...emissions]
  }

  private hold(emissions: ReadonlyArray<Emission>): ReadonlyArray<Emission> {
    if (this.begun) return emissions
    this.held.push(...emissions)
    return none
  }

  private pass(frame: Frame, content: boolean): ReadonlyArray<Emission> {
    this.native = true
    if (frame.deltas.length === 0 && this.door.unasked?.(frame, this.options.body) === true) return none
    this.encoding().passed?.(frame)
    return content ? this.send([frame]) : this.hold([frame])
  }

  /** A piece of a step that is not the answer: where the protocol has no place for it, a comment. */
  private aside(event: RunEvent): ReadonlyArray<Emission> {
    const told = this.encoding().step(event)
    return this.send(told.length > 0 ? told : commentOf(event))
  }
}
