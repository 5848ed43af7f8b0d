/** Takes a client's request through its mode: deadline, ledger, sums, events. */
import { Clock, Context, Effect, Exit, Layer, Option } from "effect"
import type { RequestRow } from "../account/Ledger.ts"
import { Ledger } from "../account/Ledger.ts"
import type { Attempt } from "../domain/Attempt.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ChatRequest, Completion, Delta, Frame, Part } from "../domain/Chat.ts"
import { toolCallsOf } from "../domain/Chat.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { DeadlineExceeded, InvalidRequest } from "../domain/RequestError.ts"
import * as Usages from "../domain/Usage.ts"
import { Settings } from "../Settings.ts"
import type { RunRecord } from "./Attempts.ts"
import { Attempts } from "./Attempts.ts"
import type { ModeContext, ModeOutcome, RoleCall } from "./Mode.ts"
import { Modes } from "./Mode.ts"
import type { CallResult, EventSink, RunRequest, RunResult } from "./Run.ts"

/** How a failure will look to the client: the HTTP status and the error's code, for the ledger. */
export type Describe = (error: RequestError) => { readonly status: number; readonly code: string }

export class Orchestrator extends Context.Service<Orchestrator, {
  /**
   * Runs one request to its answer. With `emit`, answers are streamed from upstream and every step is told as it goes; the
   * effect still ends with the whole result. Interruption cancels the upstream call and settles the ledger as 499.
   */
  readonly run: (request: RunRequest, describe: Describe, emit?: EventSink) => Effect.Effect<RunResult, RequestError>
}>()("tokenhub/Orchestrator") {
  static readonly layer = Layer.effect(
    Orchestrator,
    Effect.gen(function*() {
      const attempts = yield* Attempts
      const ledger = yield* Ledger
      const modes = yield* Modes
      const settings = yield* Settings

      const run = Effect.fn("Orchestrator.run")(function*(
        request: RunRequest,
        describe: Describe,
        emit?: EventSink
      ): Effect.fn.Return<RunResult, RequestError> {
        const mode = modes.get(request.mode)
        if (mode === undefined) {
          return yield* new InvalidRequest({
            message: `No orchestration mode '${request.mode}'; there are: ${modes.names.join(", ")}`,
            param: "orchestration_mode"
          })
        }
        const startedAt = yield* Clock.currentTimeMillis
        const began = yield* Clock.monotonicTimeNanos
        const deadlineMs = Math.min(request.deadlineMs ?? settings.wholeRunTimeoutMs, settings.wholeRunTimeoutMs)
        const elapsedMs = Effect.map(Clock.monotonicTimeNanos, (now) => Number(now - began) / 1e6)
        const calls: Array<Attempt> = []
        let opening: RequestRow = emptyRow(request, startedAt)
        let opened = false
        let shown = false

        const record: RunRecord = {
          id: request.id,
          attempts: calls,
          keep: (attempt) => void (calls[attempt.index] = attempt),
          open: (model, firstCall) => {
            if (opened) return Effect.void
            opened = true
            opening = openRow(opening, model, firstCall * BigInt(mode.maxSteps(request.options)))
            return ledger.open(opening)
          },
          timeLeftMs: Effect.map(elapsedMs, (elapsed) => deadlineMs - elapsed)
        }

        const call = Effect.fnUntraced(function*({ final, insteadOf, model, request: chat, step }: RoleCall) {
          yield* emit?.({ type: "step.started", step }) ?? Effect.void
          const result = yield* attempts.run(record, {
            step,
            request: chat,
            model,
            policy: request.policy,
            ...(request.maxCost === undefined ? {} : { maxCost: request.maxCost }),
            ...(insteadOf === undefined ? {} : { insteadOf }),
            ...(emit === undefined ? {} : {
              sink: {
                onCall: ({ name, provider }: ModelCard) => emit({ type: "call.started", step, model: name, provider }),
                hasContent: request.hasContent ?? (() => false),
                onFrame: (frame: Frame, content: boolean) =>
                  Effect.suspend(() => {
                    shown = shown || (final && content)
                    return emit({ type: "step.frame", step, frame, content })
                  }),
                onDelta: (delta: Delta) =>
                  Effect.suspend(() => {
                    shown = shown || final
                    return emit({ type: "step.delta", step, delta, final })
                  })
              }
            })
          })
          yield* emit?.({ type: "step.completed", step, result }) ?? Effect.void
          return result
        })

        const present = (step: string, draft: CallResult) =>
          emit === undefined
            ? Effect.void
            : Effect.forEach(deltasOf(draft.completion.content), (delta) => emit({ type: "step.delta", step, delta, final: true }), {
              discard: true
            })

        const context: ModeContext = {
          request: mode.direct === true ? request.chat : withoutNative(request.chat),
          model: request.model,
          options: request.options,
          call,
          shown: () => shown,
          present
        }

        return yield* mode.run(context).pipe(
          Effect.timeoutOrElse({ duration: deadlineMs, orElse: () => Effect.fail(new DeadlineExceeded({ deadlineMs })) }),
          Effect.map((outcome) => resultOf(request, outcome, calls)),
          Effect.onExit((exit) =>
            Effect.flatMap(elapsedMs, (durationMs) =>
              ledger.settle(settledRow(opening, exit, calls, Math.round(durationMs), describe))))
        )
      })

      return Orchestrator.of({ run })
    })
  )
}

const withoutNative = ({ native: _, ...chat }: ChatRequest): ChatRequest => chat

const sumOf = (calls: ReadonlyArray<Attempt>): { readonly usage: Usages.Usage; readonly cost: NanoDollars } => ({
  usage: calls.reduce((sum, attempt) => Usages.add(sum, attempt.usage), Usages.zero),
  cost: calls.reduce((sum, attempt) => sum + attempt.cost, 0n)
})

const resultOf = (request: RunRequest, { answer, degraded, details }: ModeOutcome, calls: ReadonlyArray<Attempt>): RunResult => ({
  id: request.id,
  mode: request.mode,
  completion: answer.completion,
  model: answer.model,
  provider: answer.provider,
  ...sumOf(calls),
  attempts: calls,
  degraded,
  details: details === undefined ? {} : { [request.mode]: details }
})

const emptyRow = (request: RunRequest, at: number): RequestRow => ({
  id: request.id,
  at,
  event: "chat",
  endpoint: request.endpoint,
  mode: request.mode,
  model: request.model ?? null,
  provider: null,
  clientKey: request.clientKey,
  status: null,
  errorCode: null,
  durationMs: null,
  reserved: 0n,
  usage: Usages.zero,
  cost: 0n
})

const openRow = (row: RequestRow, model: ModelCard, reserved: NanoDollars): RequestRow => ({
  ...row,
  model: model.name,
  provider: model.provider,
  reserved
})

/** The status that a client sees who left before the answer (nginx's 499). */
const clientClosedRequest = 499

const settledRow = (
  row: RequestRow,
  exit: Exit.Exit<RunResult, RequestError>,
  calls: ReadonlyArray<Attempt>,
  durationMs: number,
  describe: Describe
): RequestRow => {
  const settled = { ...row, durationMs, ...sumOf(calls) }
  if (Exit.isSuccess(exit)) {
    return { ...settled, status: 200, model: exit.value.model, provider: exit.value.provider }
  }
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  if (error !== undefined) {
    const { code, status } = describe(error)
    return { ...settled, status, errorCode: code }
  }
  return Exit.hasInterrupts(exit)
    ? { ...settled, status: clientClosedRequest, errorCode: "client_closed_request" }
    : { ...settled, status: 500, errorCode: "internal_error" }
}

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
