/** Who changed what, when. */
import { Clock, Context, Effect, Formatter, Layer } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import type { AuditRow } from "../store/AuditStore.ts"
import { AuditStore } from "../store/AuditStore.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import { scrub } from "../telemetry/Redaction.ts"

export type AuditEntry = AuditRow & { readonly id: number }

export interface Change {
  readonly action: string
  readonly target: string
  /** Plain data without secrets; a secret is named by its fingerprint. */
  readonly before?: unknown
  readonly after?: unknown
  readonly requestId?: string
}

export class AuditLog extends Context.Service<AuditLog, {
  readonly record: (change: Change) => Effect.Effect<void, StoreUnavailable>
  readonly page: (options: { readonly limit: number; readonly before?: number }) => Effect.Effect<ReadonlyArray<AuditEntry>, StoreUnavailable>
}>()("tokenhub/AuditLog") {
  static readonly layer: Layer.Layer<AuditLog, never, AuditStore> = Layer.effect(
    AuditLog,
    Effect.gen(function*() {
      const store = yield* AuditStore

      const record = Effect.fn("AuditLog.record")(function*(change: Change) {
        const at = yield* Clock.currentTimeMillis
        yield* store.append({
          at,
          actor,
          action: change.action,
          target: change.target,
          before: asText(change.before),
          after: asText(change.after),
          requestId: change.requestId ?? null
        }).pipe(Effect.mapError(toStoreUnavailable))
      })

      return AuditLog.of({
        record,
        page: (options) => Effect.mapError(store.page(options), toStoreUnavailable)
      })
    })
  )
}

/** There is one admin credential; who holds it is not known. */
const actor = "admin"

const asText = (value: unknown): string | null => (value === undefined ? null : scrub(Formatter.formatJson(value)))
