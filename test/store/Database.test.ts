import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Semaphore } from "effect"
import { Migrator, SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { Settings } from "../../src/Settings.ts"
import { Database, LedgerSqlClient } from "../../src/store/Database.ts"
import { migrations, migrationsTable } from "../../src/store/migrations/index.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { ProviderStore } from "../../src/store/ProviderStore.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as SqliteClient from "../../src/store/SqliteClient.ts"
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

  describe("migrations", () => {
    const numbers = Object.keys(migrations).map((name) => Number.parseInt(name, 10))

    it("are numbered upwards", () => assert.deepStrictEqual(numbers, numbers.toSorted((a, b) => a - b)))

    for (const version of numbers.keys()) {
      it.effect(`bring a database of the first ${version} up, with its rows`, () =>
        Effect.gen(function*() {
          const path = Path.join(yield* folder, "tokenhub.db")
          const old = Object.fromEntries(Object.entries(migrations).slice(0, version))
          yield* Effect.scoped(Effect.gen(function*() {
            const semaphore = yield* Semaphore.make(1)
            const { client: sql } = yield* SqliteClient.make({ filename: path, pragmas: ["application_id=1414034786", "journal_mode=WAL"], semaphore })
            yield* Migrator.make({})({ loader: Migrator.fromRecord(old), table: migrationsTable }).pipe(Effect.provideService(SqlClient.SqlClient, sql))
            if (version > 0) yield* sql`INSERT INTO settings (name, value) VALUES ('fact', 'kept')`
          }))
          yield* run(path, Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            const ran = yield* sql<{ migration_id: number }>`SELECT migration_id FROM ${sql(migrationsTable)} ORDER BY 1`
            assert.deepStrictEqual(ran.map((row) => row.migration_id), numbers)
            assert.strictEqual(yield* setting("fact"), version > 0 ? "kept" : undefined)
          }))
        }))
    }

    it.effect("refuse a database of a newer schema, and leave it as it is", () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "tokenhub.db")
        yield* filled(path)
        const db = new DatabaseSync(path)
        db.exec(`INSERT INTO ${migrationsTable} (migration_id, name) VALUES (999, 'future')`)
        db.close()
        const before = Fs.readFileSync(path)
        const error = yield* refusal(path)
        assert.match(error.message, /newer TokenHub \(schema 999/)
        assert.deepStrictEqual(Fs.readFileSync(path), before)
      }))
  })

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
    refuses("a truncated database", (path) => Fs.truncateSync(path, 3 * 4096 + 100), /is damaged/)
    refuses("a database that was opened before and is empty now", (path) => Fs.truncateSync(path, 0), /is empty, but was opened before/)
    refuses("a smashed first page", (path) => overwrite(path, 100, Buffer.alloc(3000, 0xa5)), /is damaged/)
    const smashSettings = (path: string) => {
      const db = new DatabaseSync(path)
      const row = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'settings'").get()
      db.close()
      overwrite(path, (Number(row?.["rootpage"]) - 1) * 4096, Buffer.alloc(200, 0xff))
    }
    refuses("a smashed table of settings", smashSettings, /is damaged/)
    refuses("a smashed table of settings beside the log of changes of a process that was killed", (path) => {
      const db = new DatabaseSync(path)
      db.exec("INSERT INTO providers SELECT 'p', 't', NULL, NULL, '{}', NULL, 0, 1, 'admin'")
      const log = Fs.readFileSync(`${path}-wal`)
      db.close()
      smashSettings(path)
      Fs.writeFileSync(`${path}-wal`, log)
    }, /is damaged/)
    refuses("a log of changes whose database is gone", (path) => {
      Fs.rmSync(path)
      Fs.writeFileSync(`${path}-wal`, "precious")
    }, /is gone, but .*-wal holds changes of it/)
  })

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
      const bytes = yield* run(path, Effect.gen(function*() {
        yield* remember("fact", "kept")
        const writing = Effect.forEach(Array.from({ length: 60 }, (_, i) => i), (i) => Effect.andThen(remember(`later/${i}`, "x"), Effect.yieldNow))
        const [copy] = yield* Effect.all([(yield* Database).backup, writing], { concurrency: 2 })
        return copy
      }))
      assert.deepStrictEqual(Fs.readdirSync(dir).toSorted(), ["tokenhub.db", "tokenhub.db.lock"], "no temporary file stays")
      const restored = Path.join(yield* folder, "restored.db")
      Fs.writeFileSync(restored, bytes)
      const db = new DatabaseSync(restored)
      assert.deepStrictEqual(db.prepare("PRAGMA integrity_check").get(), Object.assign(Object.create(null), { integrity_check: "ok" }))
      db.close()
      assert.strictEqual(yield* run(restored, setting("fact")), "kept")
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
