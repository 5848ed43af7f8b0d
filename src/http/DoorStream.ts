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

export interface DoorStream {
  /** What to send now. */
  readonly event: (event: RunEvent) => ReadonlyArray<Emission>
  readonly end: (result: RunResult) => ReadonlyArray<Emission>
  /** Once something was sent: a stream that failed before that is answered by an HTTP status. */
  readonly fail: (failure: Failure) => ReadonlyArray<Emission>
  /** What is known of the run by now, for the headers. */
  readonly headers: () => { readonly [name: string]: string }
}

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

export const make = ({ body, door, events, facts, model: requested }: StreamOptions): DoorStream => {
  let encoder: StreamEncoder | undefined
  let call: Extract<RunEvent, { type: "call.started" }> | undefined
  let calls = 0
  /** The provider's own events are the client's. */
  let native = false
  let begun = false
  let held: Array<Emission> = []

  const encoding = (): StreamEncoder => encoder ??= door.encoder({
    ...facts,
    model: call?.model ?? requested,
    ...(call === undefined ? {} : { promptTokens: call.estimatedPromptTokens })
  }, body)

  const send = (emissions: ReadonlyArray<Emission>): ReadonlyArray<Emission> => {
    if (emissions.length === 0) return none
    begun = true
    const all = held.length === 0 ? emissions : [...held, ...emissions]
    held = []
    return all
  }

  const hold = (emissions: ReadonlyArray<Emission>): ReadonlyArray<Emission> => {
    if (begun) return emissions
    held.push(...emissions)
    return none
  }

  const pass = (frame: Frame, content: boolean): ReadonlyArray<Emission> => {
    native = true
    if (frame.deltas.length === 0 && door.unasked?.(frame, body) === true) return none
    encoding().passed?.(frame)
    return content ? send([frame]) : hold([frame])
  }

  /** A piece of a step that is not the answer: where the protocol has no place for it, a comment. */
  const aside = (event: RunEvent): ReadonlyArray<Emission> => {
    const told = encoding().step(event)
    return send(told.length > 0 ? told : commentOf(event))
  }

  return {
    event: (event) => {
      switch (event.type) {
        case "call.started": {
          call = event
          calls++
          native = false
          if (!begun) {
            encoder = undefined
            held = held.filter((emission) => "comment" in emission)
          }
          return events ? hold(commentOf(event)) : none
        }
        case "step.frame":
          return pass(event.frame, event.content)
        case "step.delta":
          if (event.final) return send(encoding().delta(event.delta))
          return events ? aside(event) : none
        case "step.started":
        case "step.completed":
          if (!events) return none
          return begun ? aside(event) : hold(commentOf(event))
      }
    },
    end: (result) => [
      ...(events ? send([comment("run.completed", { mode: result.mode, attempts: result.attempts.length, cost_usd: formatUsd(result.cost) })]) : none),
      ...send(native ? [...encoding().endPassed?.() ?? [], ...door.terminal] : encoding().end(result)),
      ...held
    ],
    fail: (failure) => send(encoding().fail(failure)),
    headers: () => ({
      ...(call === undefined ? {} : { "x-tokenhub-model": call.model, "x-tokenhub-provider": call.provider }),
      "x-tokenhub-attempts": String(calls)
    })
  }
}
