/**
 * effect/sql on node:sqlite: the interface of @effect/sql-sqlite-node, which takes this file's place as soon as there
 * is a version of it for Effect 4.1.
 */
import { Context, Effect, Stream } from "effect"
import type { Scope, Semaphore } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlClient, SqlError, Statement } from "effect/sql"
import type { SqlConnection } from "effect/sql"
import type { SQLInputValue, StatementSync } from "node:sqlite"
import { DatabaseSync } from "node:sqlite"
import { sqliteCode } from "./StoreError.ts"

export interface SqliteClientConfig {
  readonly filename: string
  /** Run on the open connection, in order, as `PRAGMA …`. */
  readonly pragmas: ReadonlyArray<string>
  /** One permit: several clients of one file share it, so that they never lock each other out. */
  readonly semaphore: Semaphore.Semaphore
}

interface Prepared {
  readonly statement: StatementSync
  readonly returnsRows: boolean
  /** How the statement gives its rows now. */
  arrays: boolean
  bigInts: boolean
}

const mostPrepared = 256

const sqlError = (operation: string) => (cause: unknown): SqlError.SqlError => {
  const code = sqliteCode(cause)
  // classifySqliteError looks at `errno`, node:sqlite sets `errcode`.
  if (code !== undefined) Object.assign(cause as object, { errno: code })
  return new SqlError.SqlError({
    reason: SqlError.classifySqliteError(cause, { message: `SQLite could not ${operation}`, operation })
  })
}

/** The statements of one transaction; they are compiled once and kept. Without RETURNING: how many rows were changed. */
export type Run = (sql: string, params: ReadonlyArray<SQLInputValue>) => number

/** Writes that run one after the other, in one transaction and without a turn of the event loop in between. */
export interface SqliteBatch {
  readonly transaction: (write: (run: Run) => void) => Effect.Effect<void, SqlError.SqlError>
}

/** SQLite's own work on a row is a few microseconds; a statement of effect/sql takes several times that. */
const makeBatch = (db: DatabaseSync, semaphore: Semaphore.Semaphore): SqliteBatch => {
  const cache = new Map<string, StatementSync>()
  const run: Run = (sql, params) => {
    let statement = cache.get(sql)
    if (statement === undefined) cache.set(sql, statement = db.prepare(sql))
    return Number(statement.run(...params).changes)
  }
  return {
    transaction: (write) =>
      semaphore.withPermit(Effect.try({
        try: () => {
          run("BEGIN IMMEDIATE", [])
          try {
            write(run)
            run("COMMIT", [])
          } catch (error) {
            // A full disk has ended the transaction already.
            if (db.isTransaction) run("ROLLBACK", [])
            throw error
          }
        },
        catch: sqlError("execute")
      }))
  }
}

const makeConnection = (db: DatabaseSync): SqlConnection.Connection => {
  const cache = new Map<string, Prepared>()

  const prepare = (sql: string): Prepared => {
    const statement = db.prepare(sql)
    return { statement, returnsRows: statement.columns().length > 0, arrays: false, bigInts: false }
  }

  const prepared = (sql: string): Prepared => {
    const known = cache.get(sql)
    if (known !== undefined) return known
    const made = prepare(sql)
    if (cache.size >= mostPrepared) cache.delete(cache.keys().next().value ?? "")
    cache.set(sql, made)
    return made
  }

  const run = <A>(f: (bigInts: boolean) => A): Effect.Effect<A, SqlError.SqlError> =>
    Effect.withFiber((fiber) =>
      Effect.try({ try: () => f(Context.get(fiber.context, SqlClient.SafeIntegers)), catch: sqlError("execute") })
    )

  const rows = (
    prepared: Prepared,
    given: ReadonlyArray<unknown>,
    arrays: boolean,
    bigInts: boolean
  ): ReadonlyArray<unknown> => {
    // Whatever SQLite can't bind is its error, not ours.
    const params = given as Array<SQLInputValue>
    const { statement } = prepared
    if (!prepared.returnsRows) {
      statement.run(...params)
      return []
    }
    if (prepared.arrays !== arrays) statement.setReturnArrays(prepared.arrays = arrays)
    if (prepared.bigInts !== bigInts) statement.setReadBigInts(prepared.bigInts = bigInts)
    return statement.all(...params)
  }

  type Transform = Parameters<SqlConnection.Connection["execute"]>[2]
  const objects = (statement: Prepared, params: ReadonlyArray<unknown>, bigInts: boolean, transform: Transform) => {
    // Rows are objects unless arrays are asked for.
    const found = rows(statement, params, false, bigInts) as ReadonlyArray<object>
    return transform === undefined ? found : transform(found)
  }
  const arrays = (statement: Prepared, params: ReadonlyArray<unknown>, bigInts: boolean) =>
    rows(statement, params, true, bigInts) as ReadonlyArray<ReadonlyArray<unknown>>

  return {
    execute: (sql, params, transform) => run((bigInts) => objects(prepared(sql), params, bigInts, transform)),
    executeUnprepared: (sql, params, transform) => run((bigInts) => objects(prepare(sql), params, bigInts, transform)),
    executeValues: (sql, params) => run((bigInts) => arrays(prepared(sql), params, bigInts)),
    executeValuesUnprepared: (sql, params) => run((bigInts) => arrays(prepare(sql), params, bigInts)),
    executeRaw: (sql, params) => run((bigInts) => objects(prepared(sql), params, bigInts, undefined)),
    executeStream: (sql, params, transform) =>
      Stream.fromIterableEffect(run((bigInts) => objects(prepare(sql), params, bigInts, transform)))
  }
}

/**
 * A client of one connection, open until the scope closes. Transactions begin as `IMMEDIATE`, and a lock that another
 * program holds is an error at once (`LockTimeoutError`), because node:sqlite would wait on the event loop. Integers
 * are numbers, or bigints where `SqlClient.SafeIntegers` is set. The batch is for what runs at every request.
 */
export const make = Effect.fnUntraced(function*(
  config: SqliteClientConfig
): Effect.fn.Return<{ readonly client: SqlClient.SqlClient; readonly batch: SqliteBatch }, SqlError.SqlError, Scope.Scope> {
  const db = yield* Effect.acquireRelease(
    Effect.try({ try: () => new DatabaseSync(config.filename, { timeout: 0 }), catch: sqlError("open") }),
    (open) => Effect.sync(() => open.close())
  )
  yield* Effect.try({
    try: () => config.pragmas.forEach((pragma) => db.exec(`PRAGMA ${pragma}`)),
    catch: sqlError("open")
  })
  const client = yield* SqlClient.make({
    ...SqlClient.makeSqliteAcquirers({
      connection: Effect.succeed(makeConnection(db)),
      semaphore: config.semaphore,
      isTransaction: () => db.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(),
    driver: "sqlite-node",
    beginTransaction: "BEGIN IMMEDIATE",
    prepareTransactionControls: true,
    spanAttributes: [["db.system.name", "sqlite"]]
  }).pipe(Effect.provide(Reactivity.layer))
  return { client, batch: makeBatch(db, config.semaphore) }
})
