import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Semaphore } from "effect"
import { Migrator, SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { ClientKeyId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { Settings } from "../../src/Settings.ts"
import { AuditStore } from "../../src/store/AuditStore.ts"
import { ClientKeyStore } from "../../src/store/ClientKeyStore.ts"
import { LedgerStore } from "../../src/store/LedgerStore.ts"
import { migrations, migrationsTable, schemaVersion } from "../../src/store/migrations/index.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { ProviderStore } from "../../src/store/ProviderStore.ts"
import { ResponseStore } from "../../src/store/ResponseStore.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as SqliteClient from "../../src/store/SqliteClient.ts"
import * as Store from "../../src/store/Store.ts"
import { VaultStore } from "../../src/store/VaultStore.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const run = <A, E, R>(path: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Store.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: path })))), { local: true })

/** By the schema that made the tables: rows as a TokenHub of these schemas left them, and what the stores of today make of them. */
const left: ReadonlyArray<{ readonly since: number; readonly until?: number; readonly rows: ReadonlyArray<string>; readonly kept: Effect.Effect<void, unknown, Layer.Success<typeof Store.layer>> }> = [
  {
    since: 1,
    rows: [
      "INSERT INTO providers VALUES ('p', 'openai', 'https://p.example/v1', NULL, '{\"connectMs\":7}', 3, 1, 0, 'admin')",
      `INSERT INTO models (name, provider, upstream_name, context_size, max_output_tokens, weight, price, capabilities, aliases, enabled, source) VALUES ('m', 'p', 'm-1', 8000, NULL, -5, '{"input":"1","output":"20000000000000000000"}', '["tools"]', '["alias"]', 1, 'admin')`,
      `INSERT INTO client_keys (id, name, hash, prefix, created_at, revoked_at, expires_at, scopes, models, budget_nanos, budget_period, rpm, tpm) VALUES ('key_1', 'team', 'hash', 'th_ab', 1, NULL, 9, '["chat"]', NULL, 9007199254740993, 'month', 60, NULL)`,
      "INSERT INTO settings VALUES ('fact', 'kept')"
    ],
    kept: Effect.gen(function*() {
      const [provider] = yield* (yield* ProviderStore).all
      assert.deepInclude(provider, { name: ProviderName.make("p"), baseUrl: "https://p.example/v1", timeouts: { connectMs: 7 }, maxConcurrency: 3, allowPrivate: true, enabled: false })
      const [model] = yield* (yield* ModelStore).all
      assert.deepInclude(model, { name: ModelName.make("m"), weight: -5, price: { input: 1n, output: 2n * 10n ** 19n }, aliases: [ModelName.make("alias")], enabled: true })
      const [key] = yield* (yield* ClientKeyStore).all
      assert.deepInclude(key, { id: ClientKeyId.make("key_1"), hash: "hash", expiresAt: 9, scopes: ["chat"], models: null, budget: { amount: 9_007_199_254_740_993n, period: "month" }, rpm: 60 })
      assert.strictEqual(yield* (yield* SettingStore).get("fact"), "kept")
    })
  },
  {
    since: 2,
    rows: ["INSERT INTO vault VALUES (1, x'01', x'02', 4611686018427387905)", "INSERT INTO vault_secrets VALUES ('provider/p', x'ff')"],
    kept: Effect.gen(function*() {
      assert.deepStrictEqual(yield* (yield* VaultStore).load, {
        header: new Uint8Array([1]), manifest: new Uint8Array([2]), generation: 2n ** 62n + 1n, records: new Map([["provider/p", new Uint8Array([255])]])
      })
    })
  },
  {
    since: 3,
    rows: [
      "INSERT INTO requests VALUES ('req_1', 3600000, 'chat', '/v1/chat', 'simple', 'm', 'p', 'key_1', 200, NULL, 12, 900, 10, 1, 2, 20, 3, 0, 60)",
      "INSERT INTO attempts VALUES ('req_1', 0, 'answer', 'm', 'p', 'ok', NULL, 3600000, 11, 5, 900, 10, 1, 2, 20, 3, 0, 60)",
      "INSERT INTO usage_hourly VALUES (3600000, 'm', 'p', 'key_1', 'simple', 1, 1, 10, 1, 20, 60)"
    ],
    kept: Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const found = yield* ledger.request("req_1")
      assert.deepInclude(found?.row, { mode: "simple", status: 200, reserved: 900n, cost: 60n })
      assert.deepStrictEqual(found?.attempts.map(({ cost, outcome, step }) => [step, outcome, cost]), [["answer", "ok", 60n]])
      assert.strictEqual(yield* ledger.spent({ clientKey: "key_1", since: 0, until: Infinity }), 60n)
    })
  },
  {
    since: 3,
    until: 8,
    rows: [
      // Open when that TokenHub was killed: with a call, without one, and between two.
      "INSERT INTO requests VALUES ('req_2', 3600000, 'chat', '/v1/chat', 'simple', 'm', 'p', 'key_1', NULL, NULL, NULL, 900, 0, 0, 0, 0, 0, 0, 0)",
      "INSERT INTO attempts VALUES ('req_2', 0, 'answer', 'm', 'p', NULL, NULL, 3600000, 0, NULL, 800, 0, 0, 0, 0, 0, 0, 0)",
      "INSERT INTO requests VALUES ('req_3', 3600000, 'chat', '/v1/chat', 'simple', 'm', 'p', 'key_1', NULL, NULL, NULL, 700, 0, 0, 0, 0, 0, 0, 0)",
      "INSERT INTO requests VALUES ('req_4', 3600000, 'chat', '/v1/chat', 'simple', 'm', 'p', 'key_1', NULL, NULL, NULL, 900, 0, 0, 0, 0, 0, 0, 0)",
      "INSERT INTO attempts VALUES ('req_4', 0, 'plan', 'm', 'p', 'ok', NULL, 3600000, 11, 5, 900, 10, 1, 2, 20, 3, 0, 50)"
    ],
    kept: Effect.gen(function*() {
      const ledger = yield* LedgerStore
      assert.strictEqual(yield* ledger.recover(3_600_100), 2)
      const costs = yield* Effect.forEach(["req_2", "req_3", "req_4"], (id) => Effect.map(ledger.request(id), (one) => [one?.row.errorCode, one?.row.cost]))
      assert.deepStrictEqual(costs, [["unknown", 800n], ["unknown", 700n], ["unknown", 50n]])
      const ofDead = yield* ledger.request("req_4")
      assert.deepInclude(ofDead?.row.usage, { promptTokens: 10, cachedTokens: 1, cacheWriteTokens: 2, completionTokens: 20, reasoningTokens: 3 })
      const [hour] = yield* ledger.usage({ groupBy: "model", since: 0, until: Infinity })
      assert.strictEqual(hour?.requests, 4)
    })
  },
  {
    since: 4,
    rows: ["INSERT INTO audit VALUES (7, 1, 'admin', 'model.put', 'm', NULL, '{}', 'req_1')"],
    kept: Effect.gen(function*() {
      const [row] = yield* (yield* AuditStore).page({ limit: 1 })
      assert.deepInclude(row, { id: 7, action: "model.put", before: null, after: "{}" })
    })
  },
  {
    since: 5,
    rows: ["INSERT INTO responses VALUES ('key_1', 'resp_1', 1, 100, 4, '{}', '[]')", "INSERT INTO response_items VALUES ('key_1', 'msg_1', 'resp_1')"],
    kept: Effect.gen(function*() {
      const responses = yield* ResponseStore
      assert.deepInclude(yield* responses.withItem("key_1", "msg_1", 50), { response: "{}", items: "[]" })
    })
  },
  {
    since: 9,
    rows: ["INSERT INTO open_calls VALUES ('req_2', 0, 'answer', 'm', 'p', 3600000, 800, 3600000, 'chat', '/v1/chat', 'simple', 'm', 'p', 'key_1', 900)"],
    kept: Effect.gen(function*() {
      const ledger = yield* LedgerStore
      assert.strictEqual(yield* ledger.recover(3_600_100), 1)
      const found = yield* ledger.request("req_2")
      assert.deepInclude(found?.row, { status: 500, errorCode: "unknown", reserved: 900n, cost: 800n })
      assert.deepStrictEqual(found?.attempts.map(({ cost, outcome, step }) => [step, outcome, cost]), [["answer", "unknown", 800n]])
    })
  }
]

describe("migrations", () => {
  for (let version = 0; version < schemaVersion; version++) {
    it.effect(`bring a database of schema ${version} up, with the rows of all its tables`, () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "tokenhub.db")
        const old = Object.fromEntries(Object.entries(migrations).slice(0, version))
        const known = left.filter(({ since, until = version }) => since <= version && version <= until)
        yield* Effect.scoped(Effect.gen(function*() {
          const semaphore = yield* Semaphore.make(1)
          const { client: sql } = yield* SqliteClient.make({ filename: path, pragmas: ["application_id=1414034786", "journal_mode=WAL"], semaphore })
          yield* Migrator.make({})({ loader: Migrator.fromRecord(old), table: migrationsTable }).pipe(Effect.provideService(SqlClient.SqlClient, sql))
          for (const row of known.flatMap(({ rows }) => rows)) yield* sql.unsafe(row)
        }))
        yield* run(path, Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const ran = yield* sql<{ migration_id: number }>`SELECT migration_id FROM ${sql(migrationsTable)} ORDER BY 1`
          assert.deepStrictEqual(ran.map((row) => row.migration_id), Array.from({ length: schemaVersion }, (_, i) => i + 1))
          yield* Effect.forEach(known, ({ kept }) => kept, { discard: true })
        }))
      }))
  }

  it.effect("run once: the next start changes nothing", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      const schema = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT name, sql FROM sqlite_master ORDER BY name`)
      const first = yield* run(path, schema)
      assert.deepStrictEqual(yield* run(path, schema), first)
    }))

  it.effect("leave a database as it was where one of them fails", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      yield* run(path, Effect.void)
      const db = new DatabaseSync(path)
      // As if the last step had not run, on a database that has what it makes already.
      db.exec(`DELETE FROM ${migrationsTable} WHERE migration_id = ${schemaVersion}; INSERT INTO settings VALUES ('fact', 'kept')`)
      db.close()
      const error = yield* Effect.flip(run(path, Effect.void))
      assert.include(error.message, `The database ${Fs.realpathSync(path)} can't be opened`)
      assert.notMatch(error.message, /TABLE|COLUMN|\n/)
      const after = new DatabaseSync(path)
      assert.strictEqual(after.prepare(`SELECT max(migration_id) AS id FROM ${migrationsTable}`).get()?.["id"], schemaVersion - 1)
      assert.strictEqual(after.prepare("SELECT value FROM settings").get()?.["value"], "kept")
      after.close()
    }))

  it.effect("refuse a database of a newer schema, and leave it as it is", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "tokenhub.db")
      yield* run(path, Effect.void)
      const db = new DatabaseSync(path)
      db.exec(`INSERT INTO ${migrationsTable} (migration_id, name) VALUES (999, 'future')`)
      db.close()
      const before = Fs.readFileSync(path)
      const error = yield* Effect.flip(run(path, Effect.void))
      assert.match(error.message, /newer TokenHub \(schema 999/)
      assert.deepStrictEqual(Fs.readFileSync(path), before)
    }))
})
