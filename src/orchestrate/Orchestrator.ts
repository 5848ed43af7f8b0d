/** Takes a client's request through its mode, telling its events; requests for embeddings have no mode. */
import { Clock, Context, Effect, Layer } from "effect"
import { Ledger } from "../account/Ledger.ts"
import type { Attempt } from "../domain/Attempt.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest, Completion, Delta, Frame, Part } from "../domain/Chat.ts"
import { toolCallsOf } from "../domain/Chat.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import { spanned } from "../telemetry/Spans.ts"
import type { Describe } from "./Accounting.ts"
import * as Accounting from "./Accounting.ts"
import type { RunRecord } from "./Attempts.ts"
import { Attempts } from "./Attempts.ts"
import type { Sink } from "./Hedging.ts"
import type { ModeContext, ModeOutcome, RoleCall } from "./Mode.ts"
import { Modes } from "./Mode.ts"
import type { CallResult, EmbedRequest, EmbedResult, EventSink, RunRequest, RunResult } from "./Run.ts"

export class Orchestrator extends Context.Service<Orchestrator, {
  /**
   * Runs one request to its answer. With `emit`, answers are streamed from upstream and every step is told as it goes; the
   * effect still ends with the whole result. Interruption cancels the upstream call and settles the ledger as 499.
   */
  readonly run: (request: RunRequest, describe: Describe, emit?: EventSink) => Effect.Effect<RunResult, RequestError>
  /** Runs one request for embeddings, with routing, retries, ledger and metrics as for any other. */
  readonly embed: (request: EmbedRequest, describe: Describe) => Effect.Effect<EmbedResult, RequestError>
}>()("tokenhub/Orchestrator") {
  static readonly layer = Layer.effect(
    Orchestrator,
    Effect.gen(function*() {
      const attempts = yield* Attempts
      const ledger = yield* Ledger
      const modes = yield* Modes
      const accounted = Accounting.make(ledger, yield* Settings, yield* Clock.Clock)

      const run = (request: RunRequest, describe: Describe, emit?: EventSink): Effect.Effect<RunResult, RequestError> => {
        const mode = modes.get(request.mode)
        if (mode === undefined) {
          return Effect.fail(
            new InvalidRequest({
              message: `No orchestration mode '${request.mode}'; there are: ${modes.names.join(", ")}`,
              param: "orchestration_mode"
            })
          )
        }
        const finals: Array<StepSink> = []

        const callIn = (record: RunRecord) => ({ final, insteadOf, model, request: chat, step }: RoleCall): Effect.Effect<CallResult, RequestError> => {
          const sink = emit && new StepSink(step, final, emit, request.hasContent)
          if (sink !== undefined && final) finals.push(sink)
          const answered = attempts.run(record, {
            step,
            request: chat,
            model,
            policy: request.policy,
            ...(request.maxCost === undefined ? {} : { maxCost: request.maxCost }),
            ...(insteadOf === undefined ? {} : { insteadOf }),
            ...(sink === undefined ? {} : { sink })
          })
          return emit === undefined
            ? answered
            : emit({ type: "step.started", step }).pipe(
              Effect.andThen(answered),
              Effect.tap((result) => emit({ type: "step.completed", step, result }))
            )
        }

        const present = (step: string, draft: CallResult) =>
          emit === undefined
            ? Effect.void
            : Effect.forEach(deltasOf(draft.completion.content), (delta) => emit({ type: "step.delta", step, delta, final: true }), {
              discard: true
            })

        const contextOf = (record: RunRecord): ModeContext => ({
          request: mode.direct === true ? request.chat : withoutNative(request.chat),
          model: request.model,
          options: request.options,
          call: callIn(record),
          shown: () => finals.some((sink) => sink.shown),
          present
        })

        const opening = { ...request, event: "chat", maxSteps: mode.maxSteps(request.options) }
        return accounted(opening, describe, (record) =>
          Effect.map(mode.run(contextOf(record)), (outcome) => resultOf(request, outcome, record.attempts))).pipe(spanned("Orchestrator.run"))
      }

      const embed = (request: EmbedRequest, describe: Describe): Effect.Effect<EmbedResult, RequestError> => {
        const { embedding, id, maxCost, model, policy } = request
        const call = { step: "embed", request: embedding, model, policy, ...(maxCost === undefined ? {} : { maxCost }) }
        return accounted({ ...request, event: "embeddings", mode: null, maxSteps: 1 }, describe, (record) =>
          Effect.map(attempts.embed(record, call), (result) => ({ ...result, id, attempts: record.attempts }))).pipe(spanned("Orchestrator.embed"))
      }

      return Orchestrator.of({ run, embed })
    })
  )
}

/** Where a step's stream goes. */
class StepSink implements Sink {
  /** The client has seen a piece of this step. */
  shown = false
  readonly hasContent: (frame: Frame) => boolean
  private readonly step: string
  private readonly final: boolean
  private readonly emit: EventSink

  constructor(step: string, final: boolean, emit: EventSink, hasContent: ((frame: Frame) => boolean) | undefined) {
    this.step = step
    this.final = final
    this.emit = emit
    this.hasContent = hasContent ?? (() => false)
  }

  onCall({ name, provider }: ModelCard, estimatedPromptTokens: number): Effect.Effect<void> {
    return this.emit({ type: "call.started", step: this.step, model: name, provider, estimatedPromptTokens })
  }

  onFrame(frame: Frame, content: boolean): Effect.Effect<void> {
    if (content) this.shown = true
    return this.emit({ type: "step.frame", step: this.step, frame, content })
  }

  onDelta(delta: Delta): Effect.Effect<void> {
    this.shown = true
    return this.emit({ type: "step.delta", step: this.step, delta, final: this.final })
  }
}

const withoutNative = ({ native: _, ...chat }: ChatRequest): ChatRequest => chat

const resultOf = (request: RunRequest, { answer, degraded, details }: ModeOutcome, calls: ReadonlyArray<Attempt>): RunResult => ({
  id: request.id,
  mode: request.mode,
  completion: answer.completion,
  model: answer.model,
  provider: answer.provider,
  ...Accounting.sumOf(calls),
  attempts: calls,
  degraded,
  details: details === undefined ? {} : { [request.mode]: details }
})

/** A whole answer as the deltas that it would have come in. */
const deltasOf = (content: Completion["content"]): ReadonlyArray<Delta> => {
  const calls = toolCallsOf(content)
  return content.flatMap((part: Part): ReadonlyArray<Delta> => {
    switch (part.type) {
      case "text":
      case "refusal":
        return [{ type: part.type, text: part.text }]
      case "reasoning":
        return [part]
      case "tool_call":
        return [{ type: "tool_call", index: calls.indexOf(part), id: part.id, name: part.name, arguments: part.arguments }]
      default:
        return []
    }
  })
}
