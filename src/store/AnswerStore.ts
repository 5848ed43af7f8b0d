import { Context, Effect, Layer } from "effect"
import { hash } from "node:crypto"
import { LedgerSqlClient } from "./Database.ts"
import type { StoreError } from "./StoreError.ts"
import { statement, transaction } from "./Transaction.ts"

/** Which answer it is. */
export interface AnswerKey {
  /** Empty for callers without a key. */
  readonly clientKey: string
  readonly route: string
  /** As the client chose it; its hash is what is stored. */
  readonly key: string
}

export interface AnswerRow extends AnswerKey {
  /** Unix milliseconds. */
  readonly expiresAt: number
  /** What only the vault can open. */
  readonly sealed: Uint8Array
}

/** How much of one client key is kept; the oldest go first. */
export interface AnswerBounds {
  readonly rows: number
  readonly bytes: number
}

/**
 * The rows of `answers`. What has expired counts as gone. They lie on the ledger's connection: like the record of what was paid
 * for them they survive any death of the process, and no request waits for the disk.
 */
export class AnswerStore extends Context.Service<AnswerStore, {
  /** Keeps an answer in place of an older one of the same key, and lets the client key's oldest go where it passes the bounds. */
  readonly put: (row: AnswerRow, bounds: AnswerBounds) => Effect.Effect<void, StoreError>
  readonly get: (key: AnswerKey, now: number) => Effect.Effect<Uint8Array | undefined, StoreError>
  /** Deletes at most `most` that have expired; returns how many. */
  readonly prune: (now: number, most: number) => Effect.Effect<number, StoreError>
}>()("tokenhub/AnswerStore") {
  static readonly layer: Layer.Layer<AnswerStore, never, LedgerSqlClient> = Layer.effect(
    AnswerStore,
    Effect.map(LedgerSqlClient, (sql) => {
      const write = transaction(sql)

      const put = ({ clientKey, expiresAt, key, route, sealed }: AnswerRow, bounds: AnswerBounds) =>
        write(Effect.gen(function*() {
          const key_hash = sha256(key)
          yield* sql`DELETE FROM answers WHERE client_key = ${clientKey} AND route = ${route} AND key_hash = ${key_hash}`
          const [newest] = yield* sql<{ place: number; bytes_before: number; bytes: number }>`
            SELECT place, bytes_before, bytes FROM answers WHERE client_key = ${clientKey} ORDER BY place DESC LIMIT 1`
          const place = (newest?.place ?? 0) + 1
          const before = newest === undefined ? 0 : newest.bytes_before + newest.bytes
          const { length: bytes } = sealed
          yield* sql`
            INSERT INTO answers ${
            sql.insert({ client_key: clientKey, route, key_hash, place, bytes_before: before, bytes, expires_at: expiresAt, sealed })
          }`
          const [oldest] = yield* sql<{ place: number }>`
            SELECT place FROM answers
            WHERE client_key = ${clientKey} AND bytes_before >= ${before + bytes - bounds.bytes} ORDER BY place LIMIT 1`
          const kept = Math.max(place - bounds.rows + 1, oldest?.place ?? place)
          yield* sql`DELETE FROM answers WHERE client_key = ${clientKey} AND place < ${kept}`
        }))

      return AnswerStore.of({
        put,
        get: ({ clientKey, key, route }, now) =>
          statement(Effect.map(
            sql<{ sealed: Uint8Array }>`
              SELECT sealed FROM answers
              WHERE client_key = ${clientKey} AND route = ${route} AND key_hash = ${sha256(key)} AND expires_at > ${now}`,
            (rows) => rows[0]?.sealed
          )),
        prune: (now, most) =>
          statement(Effect.map(
            sql`
              DELETE FROM answers WHERE (client_key, route, key_hash) IN (
                SELECT client_key, route, key_hash FROM answers WHERE expires_at <= ${now} ORDER BY expires_at LIMIT ${most})
              RETURNING place`,
            (rows) => rows.length
          ))
      })
    })
  )
}

const sha256 = (text: string): string => hash("sha256", text)
