import { Data, Schema } from "effect"
import { StoreUnavailable } from "../domain/RequestError.ts"
import { SqlError } from "effect/sql"

/**
 * The database did not do what was asked. `unavailable`: busy, full or read-only, so a later try may work; `conflict`:
 * another writer was first.
 */
export class StoreError extends Data.TaggedError("StoreError")<{
  readonly kind: "unavailable" | "conflict" | "corrupt" | "other"
  /** Without SQL text. */
  readonly message: string
  readonly cause?: unknown
}> {}

type Fact = Pick<StoreError, "kind" | "message">

/** SQLite's primary result codes (sqlite.org/rescode.html) as facts. */
const facts: { readonly [code: number]: Fact } = {
  5: { kind: "unavailable", message: "The database is locked by another program" },
  6: { kind: "unavailable", message: "The database is locked by another program" },
  8: { kind: "unavailable", message: "The database is read-only" },
  10: { kind: "unavailable", message: "The disk of the database can't be read or written" },
  11: { kind: "corrupt", message: "The database is damaged" },
  13: { kind: "unavailable", message: "The database or its disk is full" },
  14: { kind: "unavailable", message: "The database file can't be opened" },
  26: { kind: "corrupt", message: "The file is not a SQLite database" }
}

/** SQLite's extended codes for a second row with the same primary key, unique columns or row id. */
const duplicates: ReadonlySet<number> = new Set([1555, 2067, 2579])

/** SQLite's extended result code, as node:sqlite gives it, or undefined for other errors. */
export const sqliteCode = (cause: unknown): number | undefined =>
  typeof cause === "object" && cause !== null && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode
    : undefined

/** What the operating system says of a disk that can't be written. */
const diskCodes: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO"])

const factOf = (cause: unknown): Fact => {
  const code = sqliteCode(cause)
  if (code === undefined) {
    return typeof cause === "object" && cause !== null && "code" in cause && diskCodes.has(cause.code)
      ? { kind: "unavailable", message: `The disk of the database can't be written (${String(cause.code)})` }
      : { kind: "other", message: "The database failed" }
  }
  if (duplicates.has(code)) return { kind: "conflict", message: "A row of that name is already there" }
  return facts[code & 0xff] ?? { kind: "other", message: `The database failed (SQLite code ${code})` }
}

/**
 * What a failed statement means to the caller: SQLite's code decides; a row that does not decode is a damaged one. A
 * `StoreError` stays as it is.
 */
export const toStoreError = (error: unknown): StoreError => {
  if (error instanceof StoreError) return error
  if (Schema.isSchemaError(error)) {
    return new StoreError({ kind: "corrupt", message: "A row of the database is damaged", cause: error })
  }
  const cause = SqlError.isSqlError(error) ? error.reason.cause : error
  return new StoreError({ ...factOf(cause), cause: error })
}

/** What the caller of a service is told. */
export const toStoreUnavailable = (error: StoreError): StoreUnavailable =>
  new StoreUnavailable({ message: error.message })
