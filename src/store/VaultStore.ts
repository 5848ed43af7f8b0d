import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { StoreError } from "./StoreError.ts"
import { snapshot, transaction } from "./Transaction.ts"

/** The vault's bytes as they lie in the database; what they mean is `vault/Envelope.ts`'s. */
export interface VaultImage {
  readonly header: Uint8Array
  readonly manifest: Uint8Array
  readonly generation: bigint
  readonly records: ReadonlyMap<string, Uint8Array>
}

export interface VaultChange {
  readonly header: Uint8Array
  readonly manifest: Uint8Array
  readonly generation: bigint
  /** Written under their names. */
  readonly put: ReadonlyMap<string, Uint8Array>
  readonly remove: ReadonlyArray<string>
}

interface HeadRow {
  readonly header: Uint8Array
  readonly manifest: Uint8Array
  readonly generation: bigint
}

const conflict = (message: string) => new StoreError({ kind: "conflict", message })

const make = Effect.map(SqlClient.SqlClient, (sql) => {
  const writeRecords = Effect.fnUntraced(function*(change: VaultChange) {
    for (const [name, record] of change.put) {
      yield* sql`
        INSERT INTO vault_secrets ${sql.insert({ name, record })}
        ON CONFLICT (name) DO UPDATE SET record = excluded.record`
    }
    for (const name of change.remove) yield* sql`DELETE FROM vault_secrets WHERE name = ${name}`
  })

  const load = Effect.gen(function*() {
    const [head] = yield* sql<HeadRow>`SELECT header, manifest, generation FROM vault`
    if (head === undefined) return undefined
    const rows = yield* sql<{ name: string; record: Uint8Array }>`SELECT name, record FROM vault_secrets ORDER BY name`
    return { ...head, records: new Map(rows.map((row) => [row.name, row.record])) }
  }).pipe(Effect.provideService(SqlClient.SafeIntegers, true))

  const create = Effect.fnUntraced(function*(change: VaultChange) {
    const { generation, header, manifest } = change
    const made = yield* sql`
      INSERT INTO vault ${sql.insert({ id: 1, header, manifest, generation })} ON CONFLICT DO NOTHING RETURNING id`
    if (made.length === 0) return yield* conflict("There is a vault already")
    yield* writeRecords(change)
  })

  const commit = Effect.fnUntraced(function*(expected: bigint, change: VaultChange) {
    const { generation, header, manifest } = change
    const changed = yield* sql`
      UPDATE vault SET header = ${header}, manifest = ${manifest}, generation = ${generation}
      WHERE generation = ${expected} RETURNING id`
    if (changed.length === 0) return yield* conflict("The vault was changed by another writer")
    yield* writeRecords(change)
  })

  return VaultStore.of({
    load: snapshot(sql)(load),
    create: (change) => transaction(sql)(create(change)),
    commit: (expected, change) => transaction(sql)(commit(expected, change))
  })
})

/** The rows of `vault` and `vault_secrets`. Commits survive a power cut (`synchronous=FULL`). */
export class VaultStore extends Context.Service<VaultStore, {
  /** The whole vault, or undefined where none was ever made. */
  readonly load: Effect.Effect<VaultImage | undefined, StoreError>
  /** Makes the first header; a `conflict` if there is one already. */
  readonly create: (change: VaultChange) => Effect.Effect<void, StoreError>
  /**
   * One immediate transaction, only if the stored generation is `expected`; else a `conflict` and nothing is changed.
   */
  readonly commit: (expected: bigint, change: VaultChange) => Effect.Effect<void, StoreError>
}>()("tokenhub/VaultStore") {
  static readonly layer: Layer.Layer<VaultStore, never, SqlClient.SqlClient> = Layer.effect(VaultStore, make)
}
