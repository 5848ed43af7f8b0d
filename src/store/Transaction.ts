/** How the stores read and write: errors as `StoreError`, locks of other programs waited for. */
import { Effect, Schedule } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { retryAfterFailure } from "../domain/Retry.ts"
import type { StoreError } from "./StoreError.ts"
import { toStoreError } from "./StoreError.ts"

/**
 * The wait for another program's lock: from 5 ms, doubling, for about 1.3 s in all. Between two tries nothing is held,
 * so reads and the event loop go on.
 */
const lockWait = Schedule.exponential("5 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 8 }))

const isLocked = (error: unknown): boolean => SqlError.isSqlError(error) && error.reason._tag === "LockTimeoutError"

/** A read, or a write of one statement. */
export const statement = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, StoreError, R> =>
  retryAfterFailure(effect, { schedule: lockWait, while: isLocked }).pipe(Effect.mapError(toStoreError))

/** What is written at closing and nobody misses: another program's lock does not hold up the end for it. */
export const lastWrite = <R>(write: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> =>
  Effect.asVoid(Effect.timeoutOption(Effect.interruptible(write), "200 millis"))

/** One immediate write transaction: all of it or nothing. Nothing but statements may be awaited inside. */
export const transaction =
  (sql: SqlClient.SqlClient) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, StoreError, R> =>
    statement(sql.withTransaction(effect))

/** Several reads of one moment; takes no write lock, so it works on a read-only database too. */
export const snapshot =
  (sql: SqlClient.SqlClient) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, StoreError, R> =>
    Effect.provideService(transaction(sql)(effect), SqlClient.BeginTransaction, "BEGIN")
