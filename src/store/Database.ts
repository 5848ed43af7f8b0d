import { Context, Duration, Effect, Layer, Semaphore, Stream } from "effect"
import type { Scope } from "effect"
import { Migrator, SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { backup as copyDatabase, DatabaseSync } from "node:sqlite"
import { Settings } from "../Settings.ts"
import { locate, lock, openingFailed, prepare } from "./DatabaseFile.ts"
import { checkLedger } from "./LedgerCheck.ts"
import { migrations, migrationsTable } from "./migrations/index.ts"
import * as SqliteClient from "./SqliteClient.ts"
import type { StoreError } from "./StoreError.ts"
import { toStoreError } from "./StoreError.ts"

/**
 * The ledger's own connection to the same database. How safely a commit is put on disk (`PRAGMA synchronous`) belongs
 * to a connection and can't change inside a transaction: configuration and vault commit on `SqlClient`, which survives
 * a power cut; the ledger commits here. Both share one semaphore, so there is one writer.
 */
export class LedgerSqlClient
  extends Context.Service<LedgerSqlClient, SqlClient.SqlClient>()("tokenhub/LedgerSqlClient")
{}

/** Transactions of the ledger's connection for what runs at every request. */
export class LedgerBatch extends Context.Service<LedgerBatch, SqliteClient.SqliteBatch>()("tokenhub/LedgerBatch") {}

/** Pages that the thread pool copies in one step of a backup: 8 MiB. */
const backupPages = 2048

/** How long one answer of `writable` stands: the probe is a real commit, and anyone may ask for readiness. */
const probeLifetime = Duration.seconds(1)

const pragmas = [
  "journal_mode=WAL",
  // 16 MiB: fewer checkpoints hold the event loop and sync the disk, and each takes little longer, since most changes are of the same pages.
  "wal_autocheckpoint=4096",
  "foreign_keys=ON",
  "trusted_schema=OFF",
  "cell_size_check=ON",
  // The log of changes is cut to this after a checkpoint, in bytes.
  "journal_size_limit=67108864"
]

/** A copy of the database, to be read while the scope is open. */
export interface BackupFile {
  readonly bytes: number
  readonly content: Stream.Stream<Uint8Array, StoreError>
}

/** Copies step by step; whoever leaves waits for the end of a step only. */
const copy = (db: DatabaseSync, target: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let left = false
    const progress = () => {
      if (left) throw new Error("Nobody waits for the copy any more")
    }
    const ended = copyDatabase(db, target, { rate: backupPages, progress }).then(
      () => resume(Effect.void),
      (cause) => resume(Effect.die(cause))
    )
    return Effect.suspend(() => {
      left = true
      return Effect.promise(() => ended)
    })
  })

/** A file that only its handle leads to: nothing of it stays, whatever happens to who reads it. */
const openCopy = (path: string): Effect.Effect<Fs.promises.FileHandle> => {
  const target = `${path}.backup`
  const remove = Effect.sync(() => Fs.rmSync(target, { force: true }))
  const reader = Effect.acquireRelease(
    Effect.sync(() => new DatabaseSync(path, { readOnly: true, timeout: 0 })),
    (db) => Effect.sync(() => db.close())
  )
  return Effect.gen(function*() {
    const db = yield* reader
    yield* Effect.acquireRelease(remove, () => remove)
    yield* Effect.sync(() => Fs.writeFileSync(target, "", { mode: 0o600 }))
    // A read transaction holds the moment that is copied, so that writers need not wait and the copy never starts over.
    yield* Effect.sync(() => db.exec("BEGIN; SELECT count(*) FROM sqlite_master"))
    yield* copy(db, target)
    return yield* Effect.uninterruptible(Effect.promise(() => Fs.promises.open(target)))
  }).pipe(Effect.scoped)
}

const makeBackup = (path: string): Effect.Effect<BackupFile, StoreError, Scope.Scope> =>
  Effect.acquireRelease(openCopy(path), (file) => Effect.promise(() => file.close()), { interruptible: true }).pipe(
    Effect.flatMap((file) =>
      Effect.map(Effect.promise(() => file.stat()), ({ size }) => ({
        bytes: size,
        content: Stream.suspend(() =>
          Stream.fromAsyncIterable<Uint8Array, StoreError>(file.createReadStream({ start: 0, autoClose: false }), toStoreError))
      }))),
    Effect.catchDefect((defect) => Effect.fail(toStoreError(defect)))
  )

const probe = (sql: SqlClient.SqlClient) =>
  // A field of the file's header that nothing else uses: the smallest write that reaches the disk.
  sql`PRAGMA user_version = 1`.pipe(
    Effect.match({
      onSuccess: () => ({ ok: true }) as const,
      onFailure: (error) => ({ ok: false, reason: toStoreError(error).message }) as const
    })
  )

/** What the stores write and read through. */
export type Connections = SqlClient.SqlClient | LedgerSqlClient | LedgerBatch

const open = Effect.fnUntraced(function*(): Effect.fn.Return<
  Context.Context<Database | Connections>,
  StoreError,
  Settings | Scope.Scope
> {
  const settings = yield* Settings
  const path = yield* locate(settings.dbPath)
  const { openedBefore } = yield* lock(path)
  const { unclean } = yield* prepare(path, openedBefore)
  const semaphore = yield* Semaphore.make(1)
  const connect = (synchronous: "FULL" | "NORMAL") =>
    SqliteClient.make({ filename: path, pragmas: [...pragmas, `synchronous=${synchronous}`], semaphore })
  const [{ client: sql }, ledger] = yield* Effect.all([
    connect("FULL"),
    connect(settings.ledgerSync === "full" ? "FULL" : "NORMAL")
  ]).pipe(Effect.mapError(openingFailed(path)))
  yield* Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: migrationsTable }).pipe(
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.mapError((error) => openingFailed(path)(error._tag === "MigrationError" ? error.cause ?? error : error))
  )
  if (unclean) {
    yield* Effect.logWarning("The database was not closed the last time; the ledger is checked in the background")
    yield* Effect.forkScoped(checkLedger(path))
  }
  const oneBackup = yield* Semaphore.make(1)
  const database = Database.of({
    writable: yield* Effect.cachedWithTTL(probe(sql), probeLifetime),
    backup: oneBackup.withPermit(makeBackup(path)),
    location: path
  })
  return Context.make(Database, database).pipe(
    Context.add(SqlClient.SqlClient, sql),
    Context.add(LedgerSqlClient, ledger.client),
    Context.add(LedgerBatch, ledger.batch)
  )
})

/**
 * The one database of this TokenHub: opened, checked, locked against a second process and migrated before anything else
 * starts.
 */
export class Database extends Context.Service<Database, {
  /** Whether a write would work now; `reason` says what stands in the way. */
  readonly writable: Effect.Effect<{ readonly ok: true } | { readonly ok: false; readonly reason: string }>
  /** A consistent copy of the whole database, as one file. */
  readonly backup: Effect.Effect<BackupFile, StoreError, Scope.Scope>
  /** Where the data lies, for people. */
  readonly location: string
}>()("tokenhub/Database") {
  /** Opens the file of `TOKENHUB_DB_PATH`; fails with the line that the person who started TokenHub should see. */
  static readonly layer: Layer.Layer<Database | Connections, StoreError, Settings> = Layer
    .effectContext(open())

  /** The same on a file of its own, in a folder that goes with the layer. */
  static readonly layerTest: Layer.Layer<Database | Connections, StoreError> = Layer.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-"))),
        (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
      ),
      (folder) =>
        Database.layer.pipe(
          Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: Path.join(folder, "tokenhub.db") })))
        )
    )
  )
}
