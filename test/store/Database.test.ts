import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { Settings } from "../../src/Settings.ts"
import { Database, LedgerSqlClient } from "../../src/store/Database.ts"
import { migrationsTable } from "../../src/store/migrations/index.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { ProviderStore } from "../../src/store/ProviderStore.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as Store from "../../src/store/Store.ts"
import { StoreError } from "../../src/store/StoreError.ts"
import { VaultStore } from "../../src/store/VaultStore.ts"
import { kill, spawnStore } from "../support/StoreProcess.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const at = (path: string) => Store.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: path }))))

/** One whole run of the stores on a file: opened, used, closed. */
const run = <A, E, R>(path: string, effect: Effect.Effect<A, E, R>) => Effect.provide(effect, at(path), { local: true })

const refusal = (path: string) => Effect.flip(run(path, Effect.void))

const setting = (name: string) => Effect.flatMap(SettingStore, (settings) => settings.get(name))
const remember = (name: string, value: string) => Effect.flatMap(SettingStore, (settings) => settings.set(name, value))

/** A backup, written to a file. */
const saved = (file: string) =>
  Effect.gen(function*() {
    const { bytes, content } = yield* Effect.flatMap(Database, ({ backup }) => backup)
    Fs.writeFileSync(file, Buffer.concat(yield* Stream.runCollect(content)))
    assert.strictEqual(Fs.statSync(file).size, bytes)
  }).pipe(Effect.scoped)

/** A database with some content, closed cleanly. */
const filled = (path: string) =>
  run(path, Effect.forEach(["a", "b", "c"], (name) => remember(name, "x".repeat(20_000)), { discard: true }))

describe("Database", () => {
  it.effect("makes the folder and the file, which nobody else may read", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "a", "b", "tokenhub.db")
      assert.strictEqual(yield* run(path, Effect.map(Database, ({ location }) => location)), Fs.realpathSync(path))
      assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
      assert.isFalse(Fs.existsSync(`${path}-wal`), "a clean close leaves one file")
    }))

  it.effect("says so where the folder can't be made", () =>
    Effect.gen(function*() {
      const file = Path.join(yield* folder, "file")
      Fs.writeFileSync(file, "")
      for (const path of [`${file}/tokenhub.db`, `${file}/below/tokenhub.db`, "/proc/tokenhub/tokenhub.db"]) {
        const error = yield* refusal(path)
        assert.instanceOf(error, StoreError)
        assert.include(error.message, `The folder of the database ${path} can't be made`)
      }
    }))

  it.effect("keeps providers, models, settings and the vault over a restart", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      const provider = {
        name: ProviderName.make("openai-eu"), providerType: "openai", baseUrl: "https://eu.example/v1", apiKeyEnv: "EU_KEY",
        timeouts: { connectMs: 100, wholeCallMs: 9000 }, maxConcurrency: 7, allowPrivate: true, enabled: false, source: "admin"
      } as const
      const model = {
        name: ModelName.make("big"), provider: provider.name, upstreamName: "big-1", contextSize: 128_000, maxOutputTokens: null, weight: -3,
        price: { input: 1n, output: 2n ** 70n, cachedInput: 0n, blended: 5n, tiers: [{ fromPromptTokens: 9, input: 3n, output: 4n }] },
        capabilities: new Set(["tools", "vision"] as const), aliases: [ModelName.make("b")], enabled: true, source: "admin"
      } as const
      const image = { header: new Uint8Array([1, 2]), manifest: new Uint8Array([3]), generation: 2n ** 60n, put: new Map([["provider/é", new Uint8Array([0, 255])]]), remove: [] }
      yield* run(path, Effect.gen(function*() {
        const providers = yield* ProviderStore
        const models = yield* ModelStore
        yield* providers.put({ ...provider, enabled: true, baseUrl: null })
        yield* providers.put(provider)
        yield* models.put({ ...model, price: null, maxOutputTokens: 5 })
        yield* models.put(model)
        yield* remember("fact", "kept")
        yield* (yield* VaultStore).create(image)
      }))
      yield* run(path, Effect.gen(function*() {
        assert.deepStrictEqual(yield* (yield* ProviderStore).all, [provider])
        assert.deepStrictEqual(yield* (yield* ModelStore).all, [model])
        assert.strictEqual(yield* setting("fact"), "kept")
        const { generation, header, manifest, put: records } = image
        assert.deepStrictEqual(yield* (yield* VaultStore).load, { generation, header, manifest, records })
      }))
    }))

  describe("the lock", () => {
    it.effect("refuses a second process on the same file, though it has another name for it", () =>
      Effect.gen(function*() {
        const dir = yield* folder
        const path = Path.join(dir, "tokenhub.db")
        yield* filled(path)
        Fs.symlinkSync(path, Path.join(dir, "alias.db"))
        yield* run(path, Effect.gen(function*() {
          const { child, lines } = spawnStore(Path.join(dir, "alias.db"), "say('open')")
          const { value } = yield* Effect.promise(() => lines.next())
          yield* Effect.promise(() => kill(child))
          assert.match(value, /^refused conflict: Another TokenHub is running on the database .*tokenhub\.db/)
        }))
      }))

    it.effect("ends with a killed process, and its file alone stops nobody", () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "tokenhub.db")
        const { child, lines } = spawnStore(path, "Effect.andThen(say('open'), Effect.never)")
        assert.strictEqual((yield* Effect.promise(() => lines.next())).value, "open")
        assert.strictEqual((yield* refusal(path)).kind, "conflict")
        yield* Effect.promise(() => kill(child))
        assert.isTrue(Fs.existsSync(`${path}.lock`))
        yield* run(path, remember("after", "kill"))
      }))
  })

  describe("refuses, with one clear line, and changes no byte of", () => {
    const refuses = (name: string, harm: (path: string) => void, line: RegExp) =>
      it.effect(name, () =>
        Effect.gen(function*() {
          const path = Path.join(yield* folder, "tokenhub.db")
          yield* filled(path)
          harm(path)
          const content = () => [path, `${path}-wal`].map((name) => (Fs.existsSync(name) ? Fs.readFileSync(name) : Buffer.alloc(0)))
          const before = content()
          const error = yield* refusal(path)
          assert.instanceOf(error, StoreError)
          assert.strictEqual(error.kind, "corrupt")
          assert.match(error.message, line)
          assert.notInclude(error.message, "\n")
          assert.isTrue(content().every((bytes, i) => bytes.equals(before[i] ?? Buffer.alloc(0))))
        }))

    const overwrite = (path: string, position: number, bytes: Buffer) => {
      const file = Fs.openSync(path, "r+")
      Fs.writeSync(file, bytes, 0, bytes.length, position)
      Fs.closeSync(file)
    }

    refuses("a file that is no database", (path) => Fs.writeFileSync(path, "dear diary\n".repeat(1000)), /is not a SQLite database/)
    refuses("a database of another program", (path) => {
      Fs.rmSync(path)
      const db = new DatabaseSync(path)
      db.exec("CREATE TABLE songs (title TEXT)")
      db.close()
    }, /is a database of another program/)
    refuses("a database of another program, whose tables have the same names", (path) => {
      const db = new DatabaseSync(path)
      db.exec("PRAGMA application_id=0")
      db.close()
    }, /is a database of another program/)
    refuses("tables that nobody migrated", (path) => {
      const db = new DatabaseSync(path)
      db.exec(`DROP TABLE ${migrationsTable}`)
      db.close()
    }, /is a database of another program/)
    refuses("a truncated database", (path) => Fs.truncateSync(path, 3 * 4096 + 100), /is damaged/)
    refuses("a database that was opened before and is empty now", (path) => Fs.truncateSync(path, 0), /is empty, but was opened before/)
    refuses("a smashed first page", (path) => overwrite(path, 100, Buffer.alloc(3000, 0xa5)), /is damaged/)
    const smash = (table: string) => (path: string) => {
      const db = new DatabaseSync(path)
      const row = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = ?").get(table)
      db.close()
      overwrite(path, (Number(row?.["rootpage"]) - 1) * 4096, Buffer.alloc(200, 0xff))
    }
    for (const table of ["settings", "providers", "models", "client_keys", "vault", "vault_secrets", migrationsTable]) {
      refuses(`a smashed table of ${table}`, smash(table), /is damaged/)
    }
    refuses("a smashed table of settings beside the log of changes of a process that was killed", (path) => {
      const db = new DatabaseSync(path)
      db.exec("INSERT INTO providers SELECT 'p', 't', NULL, NULL, '{}', NULL, 0, 1, 'admin'")
      const log = Fs.readFileSync(`${path}-wal`)
      db.close()
      smash("settings")(path)
      Fs.writeFileSync(`${path}-wal`, log)
    }, /is damaged/)
    refuses("a log of changes whose database is gone", (path) => {
      Fs.rmSync(path)
      Fs.writeFileSync(`${path}-wal`, "precious")
    }, /is gone, but .*-wal holds changes of it/)
  })

  it.effect("refuses what is not a file", () =>
    Effect.gen(function*() {
      const path = yield* folder
      assert.strictEqual((yield* refusal(path)).message, `${Fs.realpathSync(path)} is not a file; set TOKENHUB_DB_PATH to another path`)
    }))

  it.effect("starts where a start before was killed while it made the database or a backup", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      for (const unfinished of [`${path}.new`, `${path}.backup`]) Fs.writeFileSync(unfinished, "half of it")
      yield* run(path, remember("fact", "kept"))
      assert.deepStrictEqual(Fs.readdirSync(Path.dirname(path)).toSorted(), ["tokenhub.db", "tokenhub.db.lock"])
    }))

  it.effect("rolls back what a crash left half written in a rollback journal", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      yield* filled(path)
      const other = Path.join(yield* folder, "other.db")
      const db = new DatabaseSync(path)
      db.exec("PRAGMA journal_mode=DELETE; PRAGMA cache_size=1; BEGIN; UPDATE settings SET value = 'half' || hex(randomblob(9000))")
      for (const suffix of ["", "-journal"]) Fs.copyFileSync(path + suffix, other + suffix)
      db.exec("ROLLBACK")
      db.close()
      assert.isAbove(Fs.statSync(`${other}-journal`).size, 512)
      assert.strictEqual(yield* run(other, setting("a")), "x".repeat(20_000))
    }))

  it.effect("takes an empty file that was never opened as a new database", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      Fs.writeFileSync(path, "")
      yield* run(path, remember("fact", "kept"))
      assert.strictEqual(yield* run(path, setting("fact")), "kept")
    }))

  it.effect("backs up to the bytes of a database with the same rows, while it is written", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const path = Path.join(dir, "tokenhub.db")
      const restored = Path.join(yield* folder, "restored.db")
      yield* run(path, Effect.gen(function*() {
        yield* remember("fact", "kept")
        const writing = Effect.forEach(Array.from({ length: 60 }, (_, i) => i), (i) => Effect.andThen(remember(`later/${i}`, "x"), Effect.yieldNow))
        yield* Effect.all([saved(restored), writing], { concurrency: 2 })
      }))
      assert.deepStrictEqual(Fs.readdirSync(dir).toSorted(), ["tokenhub.db", "tokenhub.db.lock"], "no temporary file stays")
      const db = new DatabaseSync(restored)
      assert.deepStrictEqual(db.prepare("PRAGMA integrity_check").get(), Object.assign(Object.create(null), { integrity_check: "ok" }))
      db.close()
      assert.strictEqual(yield* run(restored, setting("fact")), "kept")
    }))

  it.live("backs up one moment, readable by nobody else, however much is written meanwhile and however many ask", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const path = Path.join(dir, "tokenhub.db")
      yield* run(path, Effect.gen(function*() {
        // More than one step of the copy.
        yield* remember("big", "x".repeat(20 << 20))
        yield* remember("one", "0")
        yield* remember("other", "0")
        const sql = yield* SqlClient.SqlClient
        const modes = new Set<number>()
        let writes = 0
        const both = (n: number) => sql.withTransaction(Effect.andThen(remember("one", String(n)), remember("other", String(n))))
        const writing = yield* Effect.forkChild(Effect.forever(Effect.suspend(() => {
          const found = Fs.statSync(`${path}.backup`, { throwIfNoEntry: false })
          if (found !== undefined) modes.add(found.mode & 0o777)
          return Effect.andThen(both(++writes), Effect.sleep(1))
        })))
        const copies = [0, 1, 2].map((i) => Path.join(dir, `copy-${i}.db`))
        yield* Effect.forEach(copies, saved, { concurrency: "unbounded", discard: true })
        yield* Fiber.interrupt(writing)
        assert.isAbove(writes, 3)
        assert.deepStrictEqual([...modes], [0o600])
        for (const file of copies) {
          const db = new DatabaseSync(file)
          const rows = db.prepare("SELECT value FROM settings WHERE name IN ('one', 'other')").all()
          assert.strictEqual(rows[0]?.["value"], rows[1]?.["value"])
          assert.strictEqual(db.prepare("PRAGMA quick_check").get()?.["quick_check"], "ok")
          db.close()
        }
      }))
    }))

  it.effect("says so where a backup can't be written, and serves on", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      yield* run(path, Effect.gen(function*() {
        Fs.mkdirSync(`${path}.backup`)
        const error = yield* Effect.flip(saved(`${path}.copy`))
        assert.instanceOf(error, StoreError)
        yield* remember("fact", "kept")
        Fs.rmdirSync(`${path}.backup`)
        yield* saved(`${path}.copy`)
      }))
    }))

  it.live("ends a backup that nobody waits for, and nothing of it stays", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      const sizeOfCopy = () => Fs.statSync(`${path}.backup`, { throwIfNoEntry: false })?.size ?? 0
      yield* run(path, Effect.gen(function*() {
        for (const name of ["a", "b", "c"]) yield* remember(name, "x".repeat(20 << 20))
        const asking = yield* Effect.forkChild(Effect.scoped(Effect.flatMap(Database, ({ backup }) => backup)))
        while (sizeOfCopy() === 0) yield* Effect.sleep(1)
        const begun = sizeOfCopy()
        let most = begun
        const watching = setInterval(() => (most = Math.max(most, sizeOfCopy())), 1)
        yield* Fiber.interrupt(asking)
        clearInterval(watching)
        assert.isBelow(most - begun, 20 << 20, "not copied to its end")
        assert.isFalse(Fs.existsSync(`${path}.backup`))
        yield* saved(`${path}.copy`)
      }))
    }))

  describe("when it can't be written", () => {
    it.effect("says that it is read-only, and that it is not any more", () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "tokenhub.db")
        yield* run(path, Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const { writable } = yield* Database
          yield* remember("fact", "kept")
          assert.deepStrictEqual(yield* writable, { ok: true })
          yield* sql`PRAGMA query_only = 1`
          assert.deepStrictEqual(yield* writable, { ok: true }, "one probe answers whoever asks within a second")
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(yield* writable, { ok: false, reason: "The database is read-only" })
          const error = yield* Effect.flip(remember("fact", "lost"))
          assert.strictEqual(error.kind, "unavailable")
          assert.strictEqual(yield* setting("fact"), "kept")
          assert.isUndefined(yield* (yield* VaultStore).load)
          yield* sql`PRAGMA query_only = 0`
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(yield* writable, { ok: true })
        }))
      }))

    it.effect("fails as unavailable when full, without SQL in the message, and recovers", () =>
      Effect.gen(function*() {
        yield* run(Path.join(yield* folder, "tokenhub.db"), Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`PRAGMA max_page_count = 1`
          const error = yield* Effect.flip(remember("big", "x".repeat(1_000_000)))
          assert.deepStrictEqual([error.kind, error.message], ["unavailable", "The database or its disk is full"])
          yield* sql`PRAGMA max_page_count = 1000000`
          yield* remember("big", "x".repeat(1_000_000))
        }))
      }))

    it.live("waits a little for another program's lock, reads meanwhile, then fails as unavailable", () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "tokenhub.db")
        yield* run(path, Effect.gen(function*() {
          yield* remember("fact", "kept")
          const other = new DatabaseSync(path)
          other.exec("BEGIN IMMEDIATE")
          const writing = yield* Effect.forkChild(Effect.flip(remember("fact", "lost")), { startImmediately: true })
          assert.strictEqual(yield* setting("fact"), "kept")
          assert.deepStrictEqual(yield* (yield* Database).writable, { ok: false, reason: "The database is locked by another program" })
          const error = yield* Fiber.join(writing)
          assert.deepStrictEqual([error.kind, error.message], ["unavailable", "The database is locked by another program"])
          const patient = yield* Effect.forkChild(remember("fact", "changed"), { startImmediately: true })
          other.exec("ROLLBACK")
          other.close()
          yield* Fiber.join(patient)
          assert.strictEqual(yield* setting("fact"), "changed")
        }))
      }))
  })

  it.effect("is used in the same safe way by configuration and ledger", () =>
    Effect.gen(function*() {
      yield* run(Path.join(yield* folder, "tokenhub.db"), Effect.gen(function*() {
        for (const sql of [yield* SqlClient.SqlClient, yield* LedgerSqlClient]) {
          const facts: Record<string, unknown> = {}
          for (const name of ["journal_mode", "foreign_keys", "trusted_schema", "cell_size_check", "journal_size_limit", "busy_timeout"]) {
            facts[name] = Object.values((yield* sql.unsafe<Record<string, unknown>>(`PRAGMA ${name}`))[0] ?? {})[0]
          }
          assert.deepStrictEqual(facts, { journal_mode: "wal", foreign_keys: 1, trusted_schema: 0, cell_size_check: 1, journal_size_limit: 64 << 20, busy_timeout: 0 })
        }
      }))
    }))

  it.effect("puts configuration safely on disk at each commit, and the ledger as the settings say", () =>
    Effect.gen(function*() {
      const synchronous = (environment: Record<string, string>) =>
        Effect.gen(function*() {
          const pragma = (sql: SqlClient.SqlClient) => Effect.map(sql<{ synchronous: number }>`PRAGMA synchronous`, (rows) => rows[0]?.synchronous)
          return [yield* pragma(yield* SqlClient.SqlClient), yield* pragma(yield* LedgerSqlClient)]
        }).pipe(Effect.provide(Database.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest(environment)))), { local: true }))
      const dir = yield* folder
      const [normal, full] = [1, 2]
      assert.deepStrictEqual(yield* synchronous({ TOKENHUB_DB_PATH: Path.join(dir, "a.db") }), [full, normal])
      assert.deepStrictEqual(yield* synchronous({ TOKENHUB_DB_PATH: Path.join(dir, "b.db"), TOKENHUB_LEDGER_SYNC: "full" }), [full, full])
    }))
})
