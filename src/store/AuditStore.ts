import type { Effect } from "effect"
import { Context } from "effect"
import type { StoreError } from "./StoreError.ts"

/** One change by an admin. `before` and `after` are JSON texts without secrets, or null. */
export interface AuditRow {
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly before: string | null
  readonly after: string | null
  readonly requestId: string | null
}

/** The rows of `audit`. */
export class AuditStore extends Context.Service<AuditStore, {
  readonly append: (row: AuditRow) => Effect.Effect<void, StoreError>
  /** Newest first; `before` is the id to go on from. */
  readonly page: (options: { readonly limit: number; readonly before?: number }) => Effect.Effect<ReadonlyArray<AuditRow & { readonly id: number }>, StoreError>
}>()("tokenhub/AuditStore") {}
