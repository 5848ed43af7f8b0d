/** Stores in memory that can be told to fail. */
import { Effect, Layer } from "effect"
import type { AuditRow } from "../../src/store/AuditStore.ts"
import { AuditStore } from "../../src/store/AuditStore.ts"
import type { ClientKeyRow } from "../../src/store/ClientKeyStore.ts"
import { ClientKeyStore } from "../../src/store/ClientKeyStore.ts"
import type { LedgerWrite } from "../../src/store/LedgerStore.ts"
import { LedgerStore } from "../../src/store/LedgerStore.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import { StoreError } from "../../src/store/StoreError.ts"

export const unavailable = new StoreError({ kind: "unavailable", message: "the database is busy" })

/** While `fault` is set every call of the store fails with it. */
export interface Faulty {
  fault: StoreError | undefined
}

const guarded = <A>(store: Faulty, run: () => A): Effect.Effect<A, StoreError> =>
  Effect.suspend(() => (store.fault === undefined ? Effect.sync(run) : Effect.fail(store.fault)))

export interface MemoryLedgerStore extends Faulty {
  /** The groups that were committed, in order. */
  readonly groups: Array<ReadonlyArray<LedgerWrite>>
  /** Writes that were tried, committed or not. */
  tries: number
  /** A write that has this property can never be committed. */
  poison: (write: LedgerWrite) => boolean
  /** What `recover` and `prune` were asked, in order with the committed groups. */
  readonly calls: Array<string>
  /** Rows that `prune` still finds. */
  old: number
  readonly layer: Layer.Layer<LedgerStore>
}

export const memoryLedgerStore = (): MemoryLedgerStore => {
  const store: MemoryLedgerStore = {
    fault: undefined,
    groups: [],
    tries: 0,
    poison: () => false,
    calls: [],
    old: 0,
    layer: Layer.mock(LedgerStore, {
      write: (writes) =>
        Effect.suspend(() => {
          store.tries++
          if (writes.some((write) => store.poison(write))) return Effect.fail(new StoreError({ kind: "other", message: "the row is refused" }))
          return guarded(store, () => {
            store.calls.push("write")
            store.groups.push(writes)
          })
        }),
      recover: () => guarded(store, () => {
        store.calls.push("recover")
        return 0
      }),
      prune: (before, batch) => guarded(store, () => {
        store.calls.push(`prune ${before}`)
        const deleted = Math.min(store.old, batch)
        store.old -= deleted
        return deleted
      })
    })
  }
  return store
}

export interface MemorySettings extends Faulty {
  readonly rows: Map<string, string>
  readonly layer: Layer.Layer<SettingStore>
}

export const memorySettings = (): MemorySettings => {
  const store: MemorySettings = {
    fault: undefined,
    rows: new Map(),
    layer: Layer.mock(SettingStore, {
      get: (name) => guarded(store, () => store.rows.get(name)),
      set: (name, value) => guarded(store, () => void store.rows.set(name, value)),
      remove: (name) => guarded(store, () => void store.rows.delete(name)),
      withPrefix: (prefix) => guarded(store, () => new Map([...store.rows].filter(([name]) => name.startsWith(prefix))))
    })
  }
  return store
}

export interface MemoryClientKeys extends Faulty {
  readonly rows: Map<string, ClientKeyRow>
  /** What each write of last uses held. */
  readonly usedWrites: Array<ReadonlyMap<string, number>>
  readonly layer: Layer.Layer<ClientKeyStore>
}

export const memoryClientKeys = (): MemoryClientKeys => {
  const store: MemoryClientKeys = {
    fault: undefined,
    rows: new Map(),
    usedWrites: [],
    layer: Layer.mock(ClientKeyStore, {
      all: guarded<ReadonlyArray<ClientKeyRow>>({ fault: undefined }, () => [...store.rows.values()]),
      put: (row) => guarded(store, () => void store.rows.set(row.id, { ...row, lastUsedAt: store.rows.get(row.id)?.lastUsedAt ?? null })),
      used: (times) =>
        guarded(store, () => {
          store.usedWrites.push(times)
          for (const [id, lastUsedAt] of times) {
            const row = store.rows.get(id)
            if (row !== undefined) store.rows.set(id, { ...row, lastUsedAt })
          }
        })
    })
  }
  return store
}

export interface MemoryAudit extends Faulty {
  readonly rows: Array<AuditRow & { readonly id: number }>
  readonly layer: Layer.Layer<AuditStore>
}

export const memoryAudit = (): MemoryAudit => {
  const store: MemoryAudit = {
    fault: undefined,
    rows: [],
    layer: Layer.mock(AuditStore, {
      append: (row) => guarded(store, () => void store.rows.push({ ...row, id: store.rows.length + 1 })),
      page: ({ limit }) => guarded(store, () => store.rows.toReversed().slice(0, limit))
    })
  }
  return store
}
