import type { Effect } from "effect"
import { Context } from "effect"
import type { ClientKeyId } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"

/** A client key as stored: the key itself is not, only its SHA-256. Times are Unix milliseconds. */
export interface ClientKeyRow {
  readonly id: ClientKeyId
  readonly name: string
  /** SHA-256 of the whole key, 64 hexadecimal digits. */
  readonly hash: string
  /** The first characters of the key, to recognise it by. */
  readonly prefix: string
  readonly createdAt: number
  readonly revokedAt: number | null
}

/** The rows of `client_keys`. */
export class ClientKeyStore extends Context.Service<ClientKeyStore, {
  readonly all: Effect.Effect<ReadonlyArray<ClientKeyRow>, StoreError>
  readonly put: (row: ClientKeyRow) => Effect.Effect<void, StoreError>
  readonly remove: (id: ClientKeyId) => Effect.Effect<void, StoreError>
}>()("tokenhub/ClientKeyStore") {}
