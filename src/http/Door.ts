/**
 * A client protocol: how its requests are raised to the canonical form and how answers, streams and errors are lowered to it.
 * One door is one file; routes, authentication, limits, routing options and the stream's bookkeeping are the same for all
 * (`DoorHttp.ts`).
 */
import type { Result } from "effect"
import type { ChatRequest, Delta, Frame } from "../domain/Chat.ts"
import type { InvalidRequest } from "../domain/RequestError.ts"
import type { RunEvent, RunResult } from "../orchestrate/Run.ts"
import type { HeaderView } from "./Credentials.ts"
import type { Failure } from "./ErrorEnvelope.ts"

export type Json = { readonly [name: string]: unknown }

/** A client's request, raised. */
export interface DoorCall {
  /** With `native`: the client's own JSON without the `tokenhub` object. */
  readonly chat: ChatRequest
  /** As the client wrote it: a name, an alias, a virtual model, or undefined. */
  readonly model: string | undefined
  readonly stream: boolean
  /** Whether a part with bytes (image, file, audio) stands in it: such bodies may be larger. */
  readonly media: boolean
}

/** What answers of every protocol carry beside the content. */
export interface AnswerFacts {
  readonly requestId: string
  /** Unix seconds. */
  readonly created: number
  /** The model's name as the client should read it. */
  readonly model: string
  /** Estimated, for protocols that tell them before the answer is there. */
  readonly promptTokens?: number
}

/** One event of the client's stream, as it goes on the wire: `event: name` (absent where the protocol has none) and `data`. */
export interface WireEvent {
  readonly event?: string
  readonly data: string
}

/** Lowers one stream. Every method gives the events to send now; frames that only open the message come with its first content. */
export interface StreamEncoder {
  /** Sees an event of the provider's own that goes to the client as it came, so that `fail` and `endPassed` can end what it began. */
  readonly passed?: (frame: Frame) => void
  /** What the provider's own stream lacks at its regular end, before the door's `terminal`. */
  readonly endPassed?: () => ReadonlyArray<WireEvent>
  readonly delta: (delta: Delta) => ReadonlyArray<WireEvent>
  /** A step of a mode, where the client asked for `tokenhub.events`; in the protocol's own place for reasoning, else nothing. */
  readonly step: (event: RunEvent) => ReadonlyArray<WireEvent>
  /** The one regular end, with usage where the protocol has it, and the terminal event. */
  readonly end: (result: RunResult) => ReadonlyArray<WireEvent>
  /** The one end of a stream that failed after its first content. */
  readonly fail: (failure: Failure) => ReadonlyArray<WireEvent>
}

export interface Door {
  /** Also the name that provider protocols go by, so that equal protocols find each other (`ChatRequest.native`). */
  readonly protocol: string
  /**
   * Whether an event of the provider's own stream, in this protocol, holds content though nothing was understood of it. Those that
   * hold none wait for the first that does.
   */
  readonly hasContent: (frame: Frame) => boolean
  /** `body` comes without the `tokenhub` object; `headers` are the client's, names in lower case. */
  readonly decode: (body: Json, headers: HeaderView) => Result.Result<DoorCall, InvalidRequest>
  readonly answer: (result: RunResult, facts: AnswerFacts, body: Json) => Json
  readonly encoder: (facts: AnswerFacts, body: Json) => StreamEncoder
  /** What ends a stream that came through frame by frame, after the provider's last event; `[DONE]` for OpenAI's chat. */
  readonly terminal: ReadonlyArray<WireEvent>
  /** An event of the provider's own stream, without a piece of the answer, that came only because TokenHub asked for it. */
  readonly unasked?: (frame: Frame, body: Json) => boolean
}
