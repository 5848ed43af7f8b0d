import { assert, describe, it } from "@effect/vitest"
import { Effect, Semaphore, Stream } from "effect"
import { SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as SqliteClient from "../../src/store/SqliteClient.ts"

const open = Effect.gen(function*() {
  const semaphore = yield* Semaphore.make(1)
  const { client: sql } = yield* SqliteClient.make({ filename: ":memory:", pragmas: ["foreign_keys=ON"], semaphore })
  yield* sql`CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB) STRICT`
  return sql
})

const plain = (rows: ReadonlyArray<object>) => rows.map((row) => ({ ...row }))

describe("SqliteClient", () => {
  it.effect("reads integers beyond 2^53 as bigints where asked to, and never rounds them otherwise", () =>
    Effect.gen(function*() {
      const sql = yield* open
      const large = 2n ** 53n + 1n
      yield* sql`INSERT INTO t (id) VALUES (${large})`
      const read = sql<{ id: number | bigint }>`SELECT id FROM t`
      assert.deepStrictEqual(plain(yield* Effect.provideService(read, SqlClient.SafeIntegers, true)), [{ id: large }])
      assert.strictEqual((yield* Effect.flip(read))._tag, "SqlError")
      yield* sql`DELETE FROM t`
      yield* sql`INSERT INTO t (id, data) VALUES (7, ${new Uint8Array([0, 255])})`
      assert.deepStrictEqual(plain(yield* read), [{ id: 7 }])
      assert.deepStrictEqual(plain(yield* sql`SELECT data FROM t`), [{ data: new Uint8Array([0, 255]) }])
    }))

  it.effect("gives rows as objects, as arrays and as a stream from the same statement", () =>
    Effect.gen(function*() {
      const sql = yield* open
      yield* sql`INSERT INTO t ${sql.insert([{ id: 1, name: "a" }, { id: 2, name: "b" }])}`
      const statement = sql`SELECT id, name FROM t ORDER BY id`
      const objects = [{ id: 1, name: "a" }, { id: 2, name: "b" }]
      assert.deepStrictEqual(yield* statement.values, [[1, "a"], [2, "b"]])
      assert.deepStrictEqual(plain(yield* statement), objects)
      assert.deepStrictEqual(plain(yield* Stream.runCollect(statement.stream)), objects)
      assert.deepStrictEqual(plain(yield* statement.unprepared), objects)
      assert.deepStrictEqual(yield* statement.valuesUnprepared, [[1, "a"], [2, "b"]])
      assert.deepStrictEqual(plain((yield* statement.raw) as ReadonlyArray<object>), objects)
    }))

  it.effect("classifies errors, and rolls back the whole transaction that had one", () =>
    Effect.gen(function*() {
      const sql = yield* open
      const insert = (id: number, name: string | null) => sql`INSERT INTO t (id, name) VALUES (${id}, ${name})`
      const error = yield* Effect.flip(sql.withTransaction(Effect.andThen(insert(1, "a"), insert(2, "a"))))
      assert.strictEqual(error.reason._tag, "UniqueViolation")
      assert.deepStrictEqual(plain(yield* sql`SELECT count(*) AS n FROM t`), [{ n: 0 }])
      yield* insert(3, "a")
      const failed = yield* Effect.flip(sql`SELECT nonsense FROM t`)
      assert.notInclude(failed.message, "nonsense")
    }))

  it.effect("keeps working with more different statements than it keeps prepared", () =>
    Effect.gen(function*() {
      const sql = yield* open
      for (let i = 0; i < 600; i++) assert.deepStrictEqual(plain(yield* sql.unsafe(`SELECT ${i % 300} AS n`)), [{ n: i % 300 }])
    }))

  it.effect("takes the lock to write at the beginning of a transaction, so that none fails halfway for want of it", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const filename = Path.join(folder, "t.db")
      const { client: sql } = yield* SqliteClient.make({ filename, pragmas: ["journal_mode=WAL"], semaphore: yield* Semaphore.make(1) })
      const other = new DatabaseSync(filename, { timeout: 0 })
      const locked = Effect.sync(() => {
        try {
          other.exec("BEGIN IMMEDIATE")
          other.exec("ROLLBACK")
          return false
        } catch {
          return true
        }
      })
      assert.isTrue(yield* sql.withTransaction(Effect.andThen(sql`SELECT 1`, locked)))
      assert.isFalse(yield* locked)
      other.close()
    }))
})
