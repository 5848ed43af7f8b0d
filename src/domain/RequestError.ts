/**
 * What a client is told when its request can't be served: a closed list of facts. Status, type and code of each stand in
 * `http/ErrorEnvelope.ts`.
 */
import { Data } from "effect"
import type { Drop } from "./Candidate.ts"
import type { Fault } from "./ProviderError.ts"

/** The request itself is wrong. `param` is the path of the field, as `messages[3].content`; `details` are for programs. */
export class InvalidRequest extends Data.TaggedError("InvalidRequest")<{
  readonly message: string
  readonly param?: string
  readonly code?: string
  readonly details?: unknown
}> {}

/** No model of that name or alias; `near` are names that look like it, `param` is the field that named it: absent, `model`. */
export class ModelNotFound extends Data.TaggedError("ModelNotFound")<{
  readonly model: string
  readonly near: ReadonlyArray<string>
  readonly param?: string
}> {
  override get message(): string {
    const near = this.near.length === 0 ? "" : `; did you mean ${this.near.map((name) => `'${name}'`).join(", ")}?`
    return `No model '${this.model}'${near}`
  }
}

/** The prompt and the answer do not fit the context window of any model that may be asked. */
export class ContextLengthExceeded extends Data.TaggedError("ContextLengthExceeded")<{
  readonly model: string
  readonly neededTokens: number
  readonly contextSize: number
}> {
  override get message(): string {
    return `The request needs about ${this.neededTokens} tokens; the context window of '${this.model}' has ${this.contextSize}`
  }
}

/** Every model was left out; `drops` says why. */
export class NoCandidate extends Data.TaggedError("NoCandidate")<{ readonly drops: ReadonlyArray<Drop> }> {
  override get message(): string {
    return this.drops.length === 0
      ? "No model is registered; add one with POST /admin/models"
      : "No model meets the request: " + this.drops.slice(0, 20).map((drop) => `${drop.model}: ${drop.detail}`).join("; ")
  }
}

/** Only time stands in the way: every model that fits is cooling down or has an open circuit. */
export class AllCoolingDown extends Data.TaggedError("AllCoolingDown")<{
  readonly retryAfterMs: number
  /** True where each was rate-limited (429), false where circuits are open (503). */
  readonly rateLimited: boolean
  readonly drops: ReadonlyArray<Drop>
}> {
  override get message(): string {
    const [only] = this.drops
    const who = this.drops.length === 1 && only !== undefined ? `'${only.model}'` : "Every model that fits"
    return `${who} is ${this.rateLimited ? "rate-limited" : "unavailable"}; try again in ${Math.ceil(this.retryAfterMs / 1000)} s`
  }
}

/** An upstream call failed and nobody was left to ask. */
export class UpstreamFailed extends Data.TaggedError("UpstreamFailed")<{
  readonly fault: Fault
  readonly message: string
  readonly model: string
  readonly param?: string
  readonly retryAfterMs?: number
}> {}

/** The run's own deadline passed. */
export class DeadlineExceeded extends Data.TaggedError("DeadlineExceeded")<{ readonly deadlineMs: number }> {
  override get message(): string {
    return `The run did not end within ${this.deadlineMs} ms`
  }
}

/** The next call can't be paid from what the request or the key may spend. */
export class BudgetExceeded extends Data.TaggedError("BudgetExceeded")<{ readonly message: string }> {}

/** The vault is locked, and what was asked for needs it. */
export class VaultLocked extends Data.TaggedError("VaultLocked")<{ readonly message: string }> {}

/** A record of the vault does not open; the others do. */
export class VaultCorrupt extends Data.TaggedError("VaultCorrupt")<{ readonly message: string }> {}

/** The password does not open the vault. */
export class WrongPassword extends Data.TaggedError("WrongPassword")<{ readonly message: string }> {}

/** The credential is missing or wrong; nothing else is said. */
export class Unauthenticated extends Data.TaggedError("Unauthenticated")<{ readonly missing: boolean; readonly hint?: string }> {
  override get message(): string {
    return this.hint ?? (this.missing ? "A credential is missing" : "The credential is wrong")
  }
}

/** The credential is good, but not for this. */
export class Forbidden extends Data.TaggedError("Forbidden")<{ readonly message: string; readonly param?: string }> {}

/** The client key may not ask this model. */
export const notAllowed = (model: string, param = "model"): Forbidden =>
  new Forbidden({ message: `This client key may not use the model '${model}'`, param })

/** Too many requests or guesses of one caller. */
export class TooManyRequests extends Data.TaggedError("TooManyRequests")<{ readonly message: string; readonly retryAfterMs: number }> {}

/** A thing that the caller named does not exist; `param` is the field that named it. */
export class NotFound extends Data.TaggedError("NotFound")<{ readonly message: string; readonly param?: string }> {}

/** The thing is in another state than the request takes it to be; nothing was changed. */
export class Conflict extends Data.TaggedError("Conflict")<{ readonly message: string; readonly code?: string; readonly param?: string }> {}

/** Another writer was first: what the change was made for is not what is there now (FAULTS.md row 56). */
export const changedMeanwhile = (what: string): Conflict =>
  new Conflict({ message: `${what} was changed by another request meanwhile; nothing was changed here, try again`, code: "changed_meanwhile" })

export class PayloadTooLarge extends Data.TaggedError("PayloadTooLarge")<{ readonly message: string }> {}

/** TokenHub itself has no room now. */
export class Overloaded extends Data.TaggedError("Overloaded")<{ readonly message: string; readonly retryAfterMs: number }> {}

/** The database can't be read or written now. */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{ readonly message: string }> {}

export type RequestError =
  | InvalidRequest
  | ModelNotFound
  | ContextLengthExceeded
  | NoCandidate
  | AllCoolingDown
  | UpstreamFailed
  | DeadlineExceeded
  | BudgetExceeded
  | VaultLocked
  | VaultCorrupt
  | WrongPassword
  | Unauthenticated
  | Forbidden
  | TooManyRequests
  | NotFound
  | Conflict
  | PayloadTooLarge
  | Overloaded
  | StoreUnavailable
