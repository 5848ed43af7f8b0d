/** The keys that clients of `/v1` carry. */
import { Clock, Context, Effect, Layer, Redacted, Schedule, Semaphore } from "effect"
import { isDeepStrictEqual } from "node:util"
import type { ClientKey, ClientKeySettings } from "../domain/ClientKey.ts"
import { unlimited } from "../domain/ClientKey.ts"
import type { ClientKeyId } from "../domain/Ids.ts"
import { makeClientKeyId } from "../domain/Ids.ts"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { changedMeanwhile, Conflict, NotFound } from "../domain/RequestError.ts"
import type { ClientKeyRow } from "../store/ClientKeyStore.ts"
import { ClientKeyStore } from "../store/ClientKeyStore.ts"
import { SettingStore } from "../store/SettingStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import { toStoreUnavailable } from "../store/StoreError.ts"
import { lastWrite } from "../store/Transaction.ts"
import * as Format from "./ClientKeyFormat.ts"

/** A key with its secret: `th_`, 30 base62 characters, a checksum. */
export interface NewClientKey {
  readonly key: ClientKey
  readonly secret: Redacted.Redacted
}

/** How often last uses are written, and once more at the end: no request waits for it. */
const usedFlush = Schedule.spaced("1 minute")

export class ClientKeys extends Context.Service<ClientKeys, {
  /** The secret is in this answer only. What is not given has no limit. */
  readonly create: (settings: Pick<ClientKeySettings, "name"> & Partial<ClientKeySettings>) => Effect.Effect<NewClientKey, StoreUnavailable>
  readonly list: Effect.Effect<ReadonlyArray<ClientKey>>
  readonly get: (id: string) => Effect.Effect<ClientKey, NotFound>
  /** What is not given stays; it holds from the next request on. A key whose settings are no longer `expected` is a conflict. */
  readonly change: (
    id: string,
    changes: Partial<ClientKeySettings>,
    expected?: ClientKeySettings
  ) => Effect.Effect<ClientKey, NotFound | Conflict | StoreUnavailable>
  /**
   * A new secret for the same key. The one before opens what the key opens for `graceMs` more; one that was still in its grace
   * from an earlier rotation ends now.
   */
  readonly rotate: (id: string, graceMs: number) => Effect.Effect<NewClientKey, NotFound | Conflict | StoreUnavailable>
  /** From the next request on the key opens nothing. */
  readonly revoke: (id: string) => Effect.Effect<void, NotFound | StoreUnavailable>
  /** The key that the secret of this hash opens now, if any; remembers its use. No I/O. */
  readonly find: (hash: string) => ClientKey | undefined
  /** The key of this id, whatever it opens; no I/O. */
  readonly known: (id: string) => ClientKey | undefined
  /** True for good once a key was made, also after the last was revoked: the `auto` rule of client authentication. */
  readonly existed: () => boolean
}>()("tokenhub/ClientKeys") {
  static readonly layer: Layer.Layer<ClientKeys, StoreError, ClientKeyStore | SettingStore> = Layer.effect(
    ClientKeys,
    Effect.gen(function*() {
      const store = yield* ClientKeyStore
      const settings = yield* SettingStore
      const clock = yield* Clock.Clock
      const changes = yield* Semaphore.make(1)
      const rows = new Map<string, ClientKeyRow>()
      /** The secrets that open something, by their SHA-256: an attacker can't steer how far a comparison of hashes gets. */
      const open = new Map<string, { readonly key: ClientKey; readonly until: number; readonly use: Use }>()
      const uses = new Map<ClientKeyId, Use>()
      /** Keys whose last use is not written yet. */
      let unwritten = new Set<ClientKeyId>()
      let existed = (yield* settings.get(existedSetting)) !== undefined

      const keep = (row: ClientKeyRow) => {
        const before = rows.get(row.id)
        if (before !== undefined) for (const old of [before.hash, before.previousHash]) if (old !== null) open.delete(old)
        rows.set(row.id, row)
        if (row.revokedAt !== null) return
        const key = withoutHash(row)
        const use = uses.get(row.id) ?? { at: row.lastUsedAt ?? never }
        uses.set(row.id, use)
        const expiresAt = row.expiresAt ?? Infinity
        open.set(row.hash, { key, until: expiresAt, use })
        if (row.previousHash !== null) open.set(row.previousHash, { key, until: Math.min(expiresAt, row.previousUntil ?? 0), use })
      }
      for (const row of yield* store.all) keep(row)
      existed ||= rows.size > 0

      const flush = Effect.suspend(() => {
        if (unwritten.size === 0) return Effect.void
        const ids = unwritten
        unwritten = new Set()
        return Effect.catch(store.used(new Map([...ids].map((id) => [id, uses.get(id)?.at ?? never]))), (error) => {
          unwritten = new Set([...ids, ...unwritten])
          return Effect.logWarning("When client keys were last used could not be stored", { reason: error.message })
        })
      })
      yield* Effect.addFinalizer(() => lastWrite(flush))
      yield* flush.pipe(Effect.repeat(usedFlush), Effect.forkScoped)

      const put = (row: ClientKeyRow) =>
        store.put(row).pipe(Effect.mapError(toStoreUnavailable), Effect.tap(() => Effect.sync(() => keep(row))))

      const row = (id: string): Effect.Effect<ClientKeyRow, NotFound> =>
        Effect.suspend(() => {
          const found = rows.get(id)
          return found === undefined ? Effect.fail(new NotFound({ message: `No client key '${id}'` })) : Effect.succeed(found)
        })

      const shown = (found: ClientKeyRow): ClientKey => {
        const { at } = uses.get(found.id) ?? { at: never }
        return { ...withoutHash(found), lastUsedAt: at === never ? found.lastUsedAt : at }
      }

      const create = Effect.fn("ClientKeys.create")(function*(given: Pick<ClientKeySettings, "name"> & Partial<ClientKeySettings>) {
        const now = yield* Clock.currentTimeMillis
        const secret = Format.generate()
        // Marked first: a crash in between leaves a TokenHub that asks for keys, never an open one.
        yield* settings.set(existedSetting, "true").pipe(Effect.mapError(toStoreUnavailable))
        existed = true
        const created: ClientKeyRow = {
          ...unlimited,
          ...given,
          id: makeClientKeyId(now),
          hash: Format.hashOf(secret),
          prefix: Format.shown(secret),
          createdAt: now,
          revokedAt: null,
          previousHash: null,
          previousUntil: null,
          lastUsedAt: null
        }
        yield* put(created)
        return { key: withoutHash(created), secret: Redacted.make(secret) }
      }, changes.withPermits(1))

      const change = Effect.fn("ClientKeys.change")(function*(id: string, given: Partial<ClientKeySettings>, expected?: ClientKeySettings) {
        const found = yield* row(id)
        if (expected !== undefined && !isDeepStrictEqual(settingsOf(found), settingsOf(expected))) return yield* changedMeanwhile(`The client key '${id}'`)
        const changed = { ...found, ...given }
        yield* put(changed)
        return shown(changed)
      }, changes.withPermits(1))

      const rotate = Effect.fn("ClientKeys.rotate")(function*(id: string, graceMs: number) {
        const found = yield* row(id)
        if (found.revokedAt !== null) return yield* new Conflict({ message: `The client key '${id}' is revoked`, code: "key_revoked" })
        const secret = Format.generate()
        const grace = graceMs > 0
        const rotated = {
          ...found,
          hash: Format.hashOf(secret),
          prefix: Format.shown(secret),
          previousHash: grace ? found.hash : null,
          previousUntil: grace ? (yield* Clock.currentTimeMillis) + graceMs : null
        }
        yield* put(rotated)
        return { key: shown(rotated), secret: Redacted.make(secret) }
      }, changes.withPermits(1))

      const revoke = Effect.fn("ClientKeys.revoke")(function*(id: string) {
        const found = yield* row(id)
        if (found.revokedAt === null) yield* put({ ...found, revokedAt: yield* Clock.currentTimeMillis })
      }, changes.withPermits(1))

      return ClientKeys.of({
        create,
        list: Effect.sync(() => [...rows.values()].map(shown)),
        get: (id) => Effect.map(row(id), shown),
        change,
        rotate,
        revoke,
        find: (hash) => {
          const found = open.get(hash)
          if (found === undefined) return undefined
          const now = clock.currentTimeMillisUnsafe()
          if (now >= found.until) return undefined
          found.use.at = now
          unwritten.add(found.key.id)
          return found.key
        },
        known: (id) => rows.get(id),
        existed: () => existed
      })
    })
  )
}

/** When a key was last used, Unix milliseconds, or `never`. It changes in place, at every request. */
interface Use {
  at: number
}

const never = -1

/** The row of `settings` that says that a key was once made. */
const existedSetting = "client_key_existed"

const settingsOf = ({ budget, expiresAt, models, name, rpm, scopes, tpm }: ClientKeySettings): ClientKeySettings =>
  ({ budget, expiresAt, models, name, rpm, scopes, tpm })

const withoutHash = ({ hash: _, previousHash: __, ...key }: ClientKeyRow): ClientKey => key
