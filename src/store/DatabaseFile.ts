/**
 * The file of the database before it is opened for work: its lock, its checks, its making. Nothing here writes to a
 * file that is not TokenHub's.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { migrationsTable, schemaVersion } from "./migrations/index.ts"
import { sqliteCode, StoreError, toStoreError } from "./StoreError.ts"

/** `THub`, in the header of every database of TokenHub. */
const applicationId = 0x54487562

/** Small tables that everything depends on: looked through at every start. */
const essentialTables = ["providers", "models", "client_keys", "settings", "vault", "vault_secrets"]

const elsewhere = "set TOKENHUB_DB_PATH to another path"
const leftAsIs = `TokenHub left it as it is; ${elsewhere}, or restore a backup`

const refuse = (kind: StoreError["kind"], message: string, cause?: unknown) => new StoreError({ kind, message, cause })

const sizeOf = (path: string): number => Fs.statSync(path, { throwIfNoEntry: false })?.size ?? -1

const reasonOf = (cause: unknown): string =>
  sqliteCode(cause) === undefined ? String((cause as NodeJS.ErrnoException).code ?? cause) : toStoreError(cause).message

const isFolder = (path: string): boolean => Fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

/** Makes a folder and those above it. Node's own recursive mkdir never returns where the system says ENOENT, as under /proc. */
const makeFolder = (path: string): void => {
  if (isFolder(path)) return
  if (Path.dirname(path) !== path) makeFolder(Path.dirname(path))
  try {
    Fs.mkdirSync(path)
  } catch (cause) {
    // Another process may have made it meanwhile.
    if (!isFolder(path)) throw cause
  }
}

/** The real path of the database file, its folder made: two names of one file are one database. */
export const locate = (dbPath: string): Effect.Effect<string, StoreError> =>
  Effect.try({
    try: () => {
      const path = Path.resolve(dbPath)
      makeFolder(Path.dirname(path))
      return Fs.existsSync(path)
        ? Fs.realpathSync(path)
        : Path.join(Fs.realpathSync(Path.dirname(path)), Path.basename(path))
    },
    catch: (cause) =>
      refuse("unavailable", `The folder of the database ${dbPath} can't be made (${reasonOf(cause)}); ${elsewhere}`, cause)
  })

/**
 * Holds `<path>.lock` until the scope closes: an empty SQLite file, exclusively locked. The operating system frees the
 * lock when the process ends in whatever way, so the file itself means nothing. Returns whether the file was there
 * before.
 */
export const lock = (path: string): Effect.Effect<{ readonly openedBefore: boolean }, StoreError, Scope.Scope> => {
  const lockPath = `${path}.lock`
  return Effect.acquireRelease(
    Effect.try({
      try: () => {
        const openedBefore = Fs.existsSync(lockPath)
        const db = new DatabaseSync(lockPath, { timeout: 0 })
        try {
          db.exec("BEGIN EXCLUSIVE")
        } catch (cause) {
          db.close()
          throw cause
        }
        return { db, openedBefore }
      },
      catch: (cause) =>
        (sqliteCode(cause) ?? 0) % 256 === 5
          ? refuse("conflict", `Another TokenHub is running on the database ${path}; stop it, or ${elsewhere}`, cause)
          : refuse("unavailable", `The lock ${lockPath} can't be taken (${reasonOf(cause)})`, cause)
    }),
    ({ db }) => Effect.sync(() => db.close())
  )
}

const create = (path: string): void => {
  // Made apart and renamed when whole, so that an empty file of that name is never a half-made one.
  const fresh = sizeOf(path) === 0 ? path : `${path}.new`
  const db = new DatabaseSync(fresh)
  try {
    db.exec(`PRAGMA application_id=${applicationId}; PRAGMA journal_mode=WAL`)
  } finally {
    db.close()
  }
  Fs.chmodSync(fresh, 0o600)
  if (fresh !== path) Fs.renameSync(fresh, path)
}

const scalar = (db: DatabaseSync, sql: string): unknown => {
  const statement = db.prepare(sql)
  statement.setReturnArrays(true)
  return (statement.get() as unknown as ReadonlyArray<unknown> | undefined)?.[0]
}

const damaged = (path: string, cause?: unknown): StoreError =>
  refuse("corrupt", `The database ${path} is damaged. ${leftAsIs}`, cause)

const inspect = (db: DatabaseSync, path: string): void => {
  const foreign = refuse("corrupt", `${path} is a database of another program. ${leftAsIs}`)
  if (scalar(db, "PRAGMA application_id") !== applicationId) throw foreign
  const tables = new Set(
    db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all().map((row) => row["name"])
  )
  if (!tables.has(migrationsTable)) {
    if (tables.size > 0) throw foreign
    return
  }
  const version = Number(scalar(db, `SELECT coalesce(max(migration_id), 0) FROM ${migrationsTable}`))
  if (version > schemaVersion) {
    const schemas = `schema ${version}, this one knows ${schemaVersion}`
    throw refuse("other", `The database ${path} was made by a newer TokenHub (${schemas}). ${leftAsIs}`)
  }
  for (const table of [migrationsTable, ...essentialTables]) {
    if (tables.has(table) && scalar(db, `PRAGMA quick_check(${table})`) !== "ok") throw damaged(path)
  }
}

const inspectReadOnly = (path: string): void => {
  const look = (readOnly: boolean) => {
    const db = new DatabaseSync(path, { readOnly, timeout: 0 })
    try {
      inspect(db, path)
    } finally {
      db.close()
    }
  }
  try {
    look(true)
  } catch (cause) {
    // A journal that a crash left must be rolled back first, which a reader may not do.
    if ((sqliteCode(cause) ?? 0) % 256 !== 8) throw cause
    look(false)
  }
}

const magic = "SQLite format 3\0"

const startsAsSqlite = (path: string): boolean => {
  const file = Fs.openSync(path, "r")
  try {
    const head = Buffer.alloc(magic.length)
    Fs.readSync(file, head, 0, head.length, 0)
    return head.toString("latin1") === magic
  } finally {
    Fs.closeSync(file)
  }
}

const toStartError = (path: string) => (cause: unknown): StoreError => {
  if (cause instanceof StoreError) return cause
  const error = toStoreError(cause)
  return error.kind === "corrupt"
    ? damaged(path, cause)
    : refuse(error.kind, `The database ${path} can't be opened (${reasonOf(cause)})`, cause)
}

/**
 * Checks the file, or makes it where there is none; to be called under the lock. Fails, and changes nothing, where the
 * file is damaged, no database of TokenHub, or of a newer one. `unclean`: the last process did not close it.
 */
export const prepare = (
  path: string,
  openedBefore: boolean
): Effect.Effect<{ readonly unclean: boolean }, StoreError> =>
  Effect.try({
    try: () => {
      if (Fs.statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
        throw refuse("other", `${path} is not a file`)
      }
      // What a process that was killed in the middle of it may have left.
      for (const unfinished of [`${path}.new`, `${path}.backup`]) Fs.rmSync(unfinished, { force: true })
      const size = sizeOf(path)
      const unclean = Fs.existsSync(`${path}-wal`)
      if (size <= 0) {
        // SQLite would delete the log of changes as soon as it sees an empty database beside it.
        if (sizeOf(`${path}-wal`) > 0) {
          throw refuse("corrupt", `The database ${path} is gone, but ${path}-wal holds changes of it. ${leftAsIs}`)
        }
        if (size === 0 && openedBefore) {
          const wayOut = "Delete it to start anew, or restore a backup"
          throw refuse("corrupt", `The database ${path} is empty, but was opened before. ${wayOut}`)
        }
        create(path)
        return { unclean: false }
      }
      if (!startsAsSqlite(path)) throw refuse("corrupt", `${path} is not a SQLite database. ${leftAsIs}`)
      inspectReadOnly(path)
      return { unclean }
    },
    catch: toStartError(path)
  })

/** Fails to open or migrate, told with the path. */
export const openingFailed = toStartError
