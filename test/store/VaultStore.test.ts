import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient, Statement } from "effect/sql"
import { DatabaseSync } from "node:sqlite"
import { Database } from "../../src/store/Database.ts"
import * as Store from "../../src/store/Store.ts"
import type { VaultChange } from "../../src/store/VaultStore.ts"
import { VaultStore } from "../../src/store/VaultStore.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const change = (generation: bigint, put: Record<string, string> = {}, remove: ReadonlyArray<string> = []): VaultChange => ({
  header: bytes(`header ${generation}`),
  manifest: bytes(`manifest ${generation}`),
  generation,
  put: new Map(Object.entries(put).map(([name, record]) => [name, bytes(record)])),
  remove
})

const image = (generation: bigint, records: Record<string, string>) => {
  const { put, remove: _, ...head } = change(generation, records)
  return { ...head, records: put }
}

describe("VaultStore", () => {
  it.effect("has no vault before one is made, and makes one only once", () =>
    Effect.gen(function*() {
      const store = yield* VaultStore
      assert.isUndefined(yield* store.load)
      yield* store.create(change(1n, { a: "1" }))
      const error = yield* Effect.flip(store.create(change(1n, { a: "2", b: "2" })))
      assert.strictEqual(error.kind, "conflict")
      assert.deepStrictEqual(yield* store.load, image(1n, { a: "1" }))
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("commits puts and removals together, with generations beyond 2^53", () =>
    Effect.gen(function*() {
      const store = yield* VaultStore
      const far = 2n ** 62n + 1n
      yield* store.create(change(far, { a: "1", b: "1" }))
      yield* store.commit(far, change(far + 1n, { b: "2", c: "2" }, ["a", "absent"]))
      assert.deepStrictEqual(yield* store.load, image(far + 1n, { b: "2", c: "2" }))
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("of two writers from one generation lets one win, and the other changes nothing", () =>
    Effect.gen(function*() {
      const store = yield* VaultStore
      yield* store.create(change(1n, { a: "1" }))
      const both = yield* Effect.all([
        Effect.result(store.commit(1n, change(2n, { a: "first" }))),
        Effect.result(store.commit(1n, change(2n, { a: "second", b: "second" }, ["a"])))
      ], { concurrency: 2 })
      assert.deepStrictEqual(both.map((result) => result._tag).toSorted(), ["Failure", "Success"])
      const won = both[0]._tag === "Success" ? { a: "first" } : { b: "second" }
      assert.deepStrictEqual(yield* store.load, image(2n, won))
      const lost = both.find((result) => result._tag === "Failure")
      assert.strictEqual(lost?._tag === "Failure" ? lost.failure.kind : undefined, "conflict")
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("changes everything or nothing: a record that can't be written leaves header and manifest as they were", () =>
    Effect.gen(function*() {
      const store = yield* VaultStore
      const sql = yield* SqlClient.SqlClient
      yield* sql`
        CREATE TRIGGER full BEFORE INSERT ON vault_secrets WHEN NEW.name = 'no' BEGIN SELECT RAISE(ABORT, 'no'); END`
      yield* Effect.flip(store.create(change(1n, { a: "1", no: "1" })))
      assert.isUndefined(yield* store.load)
      yield* store.create(change(1n, { a: "1" }))
      yield* Effect.flip(store.commit(1n, change(2n, { a: "2", no: "2" }, ["a"])))
      assert.deepStrictEqual(yield* store.load, image(1n, { a: "1" }))
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("loads header and records of one moment, though another program changes both in between", () =>
    Effect.gen(function*() {
      const store = yield* VaultStore
      const { location } = yield* Database
      yield* store.create(change(1n, { a: "1" }))
      const other = new DatabaseSync(location)
      let changed = false
      const loaded = yield* Effect.provideService(store.load, Statement.CurrentTransformer, (statement) =>
        Effect.sync(() => {
          if (!changed && statement.compile()[0].includes("FROM vault_secrets")) {
            changed = true
            other.exec("BEGIN; UPDATE vault SET generation = 2; UPDATE vault_secrets SET record = x'32'; COMMIT")
          }
          return statement
        }))
      other.close()
      assert.isTrue(changed)
      assert.deepStrictEqual(loaded, image(1n, { a: "1" }))
      assert.strictEqual((yield* store.load)?.generation, 2n)
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("has no vault to commit to before one is made", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.flatMap(VaultStore, (store) => store.commit(0n, change(1n))))
      assert.strictEqual(error.kind, "conflict")
    }).pipe(Effect.provide(Store.layerTest)))
})
