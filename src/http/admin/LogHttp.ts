import { Clock, Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { AuditLog } from "../../account/AuditLog.ts"
import { Backup } from "../../account/Backup.ts"
import type { Told } from "../../account/Events.ts"
import { Events } from "../../account/Events.ts"
import type { RequestFilter } from "../../account/Ledger.ts"
import { Ledger } from "../../account/Ledger.ts"
import { NotFound } from "../../domain/RequestError.ts"
import { Settings } from "../../Settings.ts"
import { audited } from "./AdminAudit.ts"
import { fileHeaders, iso, pageOf, present } from "./AdminWire.ts"
import { BuiltApi } from "../Api.ts"
import { Drain } from "../Drain.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import * as EventStream from "../EventStream.ts"
import { KeptPrompts } from "../KeptPrompts.ts"
import type { ExportFormat } from "./LogExport.ts"
import { contentTypes, exported } from "./LogExport.ts"
import { shownAlert, shownAttempt, shownChange, shownRequest, shownUsage, totalsOf } from "./LogWire.ts"

const defaultLimit = 50

/** How far behind an answer may be: what can't be written within this time is not waited for. */
const mostBehind = "500 millis"

/** `/admin/requests`, `/admin/usage`, `/admin/events`, `/admin/audit` and `/admin/backup`. */
export const LogHttp = HttpApiBuilder.group(
  BuiltApi,
  "log",
  Effect.fnUntraced(function*(handlers) {
    const backup = yield* Backup
    const changes = yield* AuditLog
    const drain = yield* Drain
    const events = yield* Events
    const ledger = yield* Ledger
    const prompts = yield* KeptPrompts
    const record = yield* audited
    const { heartbeatMs, streamIdleTimeoutMs } = yield* Settings

    const upToDate = Effect.timeoutOption(ledger.flush, mostBehind)

    /** A database that can't be read at all is told as such, before the file begins. */
    const exportFile = (format: ExportFormat, filter: Partial<RequestFilter>) =>
      Effect.gen(function*() {
        yield* ledger.requests({ ...filter, limit: 1 })
        return HttpServerResponse.stream(exported(ledger.requests, format, filter), {
          contentType: contentTypes[format],
          headers: fileHeaders("tokenhub-requests", format, yield* Clock.currentTimeMillis)
        })
      })

    return handlers
      .handle("requests", ({ query: { format = "json", limit: most, ...filter } }) =>
        Effect.gen(function*() {
          yield* upToDate
          if (format !== "json") return yield* exportFile(format, { ...present(filter), ...(most === undefined ? {} : { limit: most }) })
          const limit = most ?? defaultLimit
          const { items, next } = pageOf(yield* ledger.requests({ ...present(filter), limit: limit + 1 }), limit)
          return { requests: items.map(shownRequest), next: next?.id ?? null }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("request", ({ params }) =>
        Effect.gen(function*() {
          yield* upToDate
          const found = yield* ledger.request(params.id)
          if (found === undefined) return yield* new NotFound({ message: `No request '${params.id}'` })
          return { ...shownRequest(found.row), attempts: found.attempts.map(shownAttempt) }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("prompt", ({ params: { id } }) =>
        Effect.gen(function*() {
          const kept = yield* prompts.get(id)
          if (kept === undefined) return yield* new NotFound({ message: `No prompt of the request '${id}' is kept` })
          yield* record(Effect.void, () => ({ action: "prompt.read", target: id }))
          return { id, expires_at: iso(kept.expiresAt), ...kept.prompt }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("usage", ({ query: { group_by: groupBy = "model", ...rest } }) =>
        Effect.gen(function*() {
          yield* upToDate
          const rows = yield* ledger.usage({ groupBy, ...present(rest) })
          return { rows: rows.map(shownUsage), totals: totalsOf(rows) }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("events", ({ request }) =>
        Effect.gen(function*() {
          const next = yield* events.watch
          return yield* EventStream.respond({
            request,
            heartbeatMs,
            stallMs: streamIdleTimeoutMs,
            produce: (emit) =>
              next.pipe(
                Effect.flatMap((settled) => Effect.forEach(eventsOf(settled), emit, { discard: true })),
                Effect.forever,
                Effect.raceFirst(Effect.as(drain.begun, "whole" as const))
              )
          })
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("audit", ({ query: { before, limit = defaultLimit } }) =>
        Effect.gen(function*() {
          const rows = yield* changes.page({ limit: limit + 1, ...(before === undefined ? {} : { before }) })
          const { items, next } = pageOf(rows, limit)
          return { changes: items.map(shownChange), next: next?.id ?? null }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("backup", () =>
        Effect.gen(function*() {
          // Not recorded in one with the copy, which whoever asked may leave.
          const file = yield* backup.file
          yield* record(Effect.void, () => ({ action: "backup.create", target: "database", after: { bytes: file.bytes } }))
          const headers = fileHeaders("tokenhub", "db", yield* Clock.currentTimeMillis)
          return HttpServerResponse.stream(file.content, { contentType: "application/vnd.sqlite3", contentLength: file.bytes, headers })
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

const eventsOf = (told: Told): ReadonlyArray<EventStream.Emission> => [
  ...(told.missed === 0 ? [] : [EventStream.named("dropped", { missed: told.missed })]),
  told.type === "request" ? EventStream.named("request", shownRequest(told.row)) : EventStream.named("budget.alert", shownAlert(told.alert))
]
