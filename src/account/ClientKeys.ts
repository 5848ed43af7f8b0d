/** The keys that clients of `/v1` carry. */
import { Clock, Context, Effect, Layer, Redacted, Semaphore } from "effect"
import { hash } from "node:crypto"
import type { ClientKeyId } from "../domain/Ids.ts"
import { makeClientKeyId } from "../domain/Ids.ts"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { NotFound } from "../domain/RequestError.ts"
import type { ClientKeyRow } from "../store/ClientKeyStore.ts"
import { ClientKeyStore } from "../store/ClientKeyStore.ts"
import { SettingStore } from "../store/SettingStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import * as Format from "./ClientKeyFormat.ts"

/** A key without its secret. Times are Unix milliseconds. */
export interface ClientKey {
  readonly id: ClientKeyId
  readonly name: string
  /** The first characters of the key, to recognise it by. */
  readonly prefix: string
  readonly createdAt: number
  readonly revokedAt: number | null
}

export class ClientKeys extends Context.Service<ClientKeys, {
  /** The key itself is in this answer only: `th_`, 30 base62 characters, a checksum. */
  readonly create: (options: { readonly name: string }) => Effect.Effect<
    { readonly key: ClientKey; readonly secret: Redacted.Redacted },
    StoreUnavailable
  >
  readonly list: Effect.Effect<ReadonlyArray<ClientKey>>
  readonly get: (id: string) => Effect.Effect<ClientKey, NotFound>
  readonly rename: (id: string, name: string) => Effect.Effect<ClientKey, NotFound | StoreUnavailable>
  /** From the next request on the key opens nothing. */
  readonly revoke: (id: string) => Effect.Effect<void, NotFound | StoreUnavailable>
  /** The key that this secret is, if it is one and not revoked; no I/O. */
  readonly find: (secret: Redacted.Redacted) => ClientKey | undefined
  /** True for good once a key was made, also after the last was revoked: the `auto` rule of client authentication. */
  readonly existed: () => boolean
}>()("tokenhub/ClientKeys") {
  static readonly layer: Layer.Layer<ClientKeys, StoreError, ClientKeyStore | SettingStore> = Layer.effect(
    ClientKeys,
    Effect.gen(function*() {
      const store = yield* ClientKeyStore
      const settings = yield* SettingStore
      const changes = yield* Semaphore.make(1)
      const rows = new Map<string, ClientKeyRow>()
      /** The keys that open something, by their SHA-256: an attacker can't steer how far a comparison of hashes gets. */
      const open = new Map<string, ClientKey>()
      let existed = (yield* settings.get(existedSetting)) !== undefined

      const keep = (row: ClientKeyRow) => {
        rows.set(row.id, row)
        if (row.revokedAt === null) open.set(row.hash, withoutHash(row))
        else open.delete(row.hash)
      }
      for (const row of yield* store.all) keep(row)
      existed ||= rows.size > 0

      const put = (row: ClientKeyRow) =>
        store.put(row).pipe(Effect.mapError(toStoreUnavailable), Effect.tap(() => Effect.sync(() => keep(row))))

      const row = (id: string): Effect.Effect<ClientKeyRow, NotFound> =>
        Effect.suspend(() => {
          const found = rows.get(id)
          return found === undefined ? Effect.fail(new NotFound({ message: `No client key '${id}'` })) : Effect.succeed(found)
        })

      const create = Effect.fn("ClientKeys.create")(function*({ name }: { readonly name: string }) {
        const now = yield* Clock.currentTimeMillis
        const secret = Format.generate()
        // Marked first: a crash in between leaves a TokenHub that asks for keys, never an open one.
        yield* settings.set(existedSetting, "true").pipe(Effect.mapError(toStoreUnavailable))
        existed = true
        const created = {
          id: makeClientKeyId(now),
          name,
          hash: sha256(secret),
          prefix: Format.shown(secret),
          createdAt: now,
          revokedAt: null
        }
        yield* put(created)
        return { key: withoutHash(created), secret: Redacted.make(secret) }
      }, changes.withPermits(1))

      const rename = Effect.fn("ClientKeys.rename")(function*(id: string, name: string) {
        const renamed = { ...yield* row(id), name }
        yield* put(renamed)
        return withoutHash(renamed)
      }, changes.withPermits(1))

      const revoke = Effect.fn("ClientKeys.revoke")(function*(id: string) {
        const found = yield* row(id)
        if (found.revokedAt === null) yield* put({ ...found, revokedAt: yield* Clock.currentTimeMillis })
      }, changes.withPermits(1))

      return ClientKeys.of({
        create,
        list: Effect.sync(() => [...rows.values()].map(withoutHash)),
        get: (id) => Effect.map(row(id), withoutHash),
        rename,
        revoke,
        find: (secret) => {
          const key = Redacted.value(secret)
          return Format.isWellFormed(key) ? open.get(sha256(key)) : undefined
        },
        existed: () => existed
      })
    })
  )
}

/** The row of `settings` that says that a key was once made. */
const existedSetting = "client_key_existed"

const sha256 = (key: string): string => hash("sha256", key, "hex")

const withoutHash = ({ hash: _, ...key }: ClientKeyRow): ClientKey => key
