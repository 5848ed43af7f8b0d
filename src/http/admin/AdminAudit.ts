/** Changes by an admin and their records in the audit log belong together: nobody leaves in between. */
import { Effect } from "effect"
import type { Change } from "../../account/AuditLog.ts"
import { AuditLog } from "../../account/AuditLog.ts"
import { RequestContext } from "../RequestContext.ts"

export type Audited = <A, E, R>(change: Effect.Effect<A, E, R>, entry: (result: A) => Omit<Change, "requestId">) => Effect.Effect<A, E, R>

/** Carries a change out and records it. A change that was made stands also where its record can't be written: then the log has it. */
export const audited: Effect.Effect<Audited, never, AuditLog> = Effect.map(
  AuditLog,
  (log): Audited => (change, entry) =>
    change.pipe(
      Effect.tap((result) =>
        Effect.flatMap(RequestContext, ({ id }) => {
          const recorded = { ...entry(result), requestId: id }
          return Effect.catch(log.record(recorded), (error) =>
            Effect.logError("A change could not be written to the audit log").pipe(
              Effect.annotateLogs({ action: recorded.action, target: recorded.target, request_id: id, reason: error.message })
            ))
        })
      ),
      Effect.uninterruptible
    )
)
