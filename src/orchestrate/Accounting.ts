/** A client's request on the ledger: opened with its first call, settled however it ends; and its deadline. */
import type { Clock } from "effect"
import { Effect, Exit, Option } from "effect"
import type { Ledger, RequestRow } from "../account/Ledger.ts"
import type { Attempt } from "../domain/Attempt.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ModelName, ProviderName } from "../domain/Ids.ts"
import type { NanoDollars } from "../domain/Money.ts"
import type { RequestError } from "../domain/RequestError.ts"
import { DeadlineExceeded } from "../domain/RequestError.ts"
import * as Usages from "../domain/Usage.ts"
import type { Settings } from "../Settings.ts"
import type { RunRecord } from "./Attempts.ts"
import { within } from "./Deadline.ts"
import type { EmbedRequest } from "./Run.ts"

/** How a failure will look to the client: the HTTP status and the error's code, for the ledger. */
export type Describe = (error: RequestError) => { readonly status: number; readonly code: string }

/** What the ledger is told of a request. */
interface Opening extends Pick<EmbedRequest, "id" | "endpoint" | "clientKey" | "model" | "deadlineMs" | "cut"> {
  readonly event: string
  readonly mode: string | null
  /** The most calls of the first call's kind that it may take. */
  readonly maxSteps: number
}

interface Answered {
  readonly model: ModelName
  readonly provider: ProviderName
}

/** Runs what needs a record of its calls; fails with `DeadlineExceeded` when the request's deadline passes. */
export const make = (ledger: Ledger["Service"], { wholeRunTimeoutMs }: Settings["Service"], clock: Clock.Clock) =>
<A extends Answered>(request: Opening, describe: Describe, work: (record: RunRecord) => Effect.Effect<A, RequestError>): Effect.Effect<A, RequestError> =>
  Effect.suspend(() => {
    const startedAt = clock.currentTimeMillisUnsafe()
    const began = clock.monotonicTimeNanosUnsafe()
    const deadlineMs = Math.min(request.deadlineMs ?? wholeRunTimeoutMs, wholeRunTimeoutMs)
    const elapsedMs = () => Number(clock.monotonicTimeNanosUnsafe() - began) / 1e6
    const calls: Array<Attempt> = []
    let row = emptyRow(request, startedAt)
    let opened = false

    const record: RunRecord = {
      id: request.id,
      clientKey: request.clientKey,
      attempts: calls,
      keep: (attempt) => void (calls[attempt.index] = attempt),
      mode: request.mode,
      opening: (model, firstCall) => {
        if (!opened) row = openRow(row, model, firstCall * BigInt(request.maxSteps))
        opened = true
        return row
      },
      timeLeftMs: Effect.sync(() => deadlineMs - elapsedMs())
    }

    return work(record).pipe(
      within<RequestError>(deadlineMs, () => new DeadlineExceeded({ deadlineMs }), request.cut),
      Effect.onExit((exit) => ledger.settle(settledRow(row, exit, calls, Math.round(elapsedMs()), describe)))
    )
  })

/** What all calls of a request used. */
export const sumOf = (calls: ReadonlyArray<Attempt>): { readonly usage: Usages.Usage; readonly cost: NanoDollars } => ({
  usage: calls.reduce((sum, attempt) => Usages.add(sum, attempt.usage), Usages.zero),
  cost: calls.reduce((sum, attempt) => sum + attempt.cost, 0n)
})

const emptyRow = (request: Opening, at: number): RequestRow => ({
  id: request.id,
  at,
  event: request.event,
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
  exit: Exit.Exit<Answered, RequestError>,
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
