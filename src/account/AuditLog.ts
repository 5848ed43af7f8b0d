/** Who changed what, when. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import type { AuditRow } from "../store/AuditStore.ts"

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
}>()("tokenhub/AuditLog") {}
