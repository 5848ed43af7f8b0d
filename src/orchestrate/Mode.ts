/** The interface of an orchestration mode, and the table of those that this TokenHub has. */
import type { Effect } from "effect"
import { Context, Layer } from "effect"
import type { ChatRequest } from "../domain/Chat.ts"
import type { RequestError } from "../domain/RequestError.ts"
import type { CallResult, ModeOptions } from "./Run.ts"

/** One completion that a mode asks for. */
export interface RoleCall {
  /** The step's name in events, attempts and the ledger: `plan`, `critique`, … */
  readonly step: string
  readonly request: ChatRequest
  /** An exact model or alias; undefined: the router chooses. */
  readonly model: string | undefined
  /** Whose answer this call judges: the router then prefers another model, of another provider where it can. */
  readonly insteadOf?: CallResult
  /** The deltas of this call are the answer itself. */
  readonly final: boolean
}

export interface ModeContext {
  /** The client's own request. */
  readonly request: ChatRequest
  /** The client's own choice of model; undefined: the router chooses. */
  readonly model: string | undefined
  readonly options: ModeOptions
  /** One completion, with routing, retries, escalation, ledger and metrics. */
  readonly call: (call: RoleCall) => Effect.Effect<CallResult, RequestError>
  /** Whether the client has seen a piece of the final answer: from then on no other answer can take its place. */
  readonly shown: () => boolean
  /** Sends a draft that was streamed as a step once more as the answer. */
  readonly present: (step: string, draft: CallResult) => Effect.Effect<void>
}

export interface ModeOutcome {
  readonly answer: CallResult
  /** Why the answer is less than the mode promises; null: it is not. */
  readonly degraded: string | null
  /** Shown in the answer under the mode's name; undefined: nothing. */
  readonly details?: unknown
}

/** How several completions become one answer. A new mode is one file with one of these, and its name in `Modes.layer`. */
export interface Mode {
  readonly name: string
  /** One sentence for the documentation. */
  readonly description: string
  /** The answer is one model's, unchanged: the client's own request may go to a provider of the same protocol as it is. */
  readonly direct?: boolean
  /** The most steps that a run with these options can take. */
  readonly maxSteps: (options: ModeOptions) => number
  readonly run: (context: ModeContext) => Effect.Effect<ModeOutcome, RequestError>
}

export class Modes extends Context.Service<Modes, {
  readonly get: (name: string) => Mode | undefined
  /** In the order of registration. */
  readonly names: ReadonlyArray<string>
}>()("tokenhub/Modes") {
  static readonly layer = (...modes: ReadonlyArray<Mode>): Layer.Layer<Modes> => {
    const table = new Map(modes.map((mode) => [mode.name, mode]))
    return Layer.succeed(Modes, Modes.of({ get: (name) => table.get(name), names: [...table.keys()] }))
  }
}
