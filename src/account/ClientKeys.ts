/** The keys that clients of `/v1` carry. */
import type { Effect, Redacted } from "effect"
import { Context } from "effect"
import type { ClientKeyId } from "../domain/Ids.ts"
import type { NotFound, StoreUnavailable } from "../domain/RequestError.ts"

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
  readonly create: (options: { readonly name: string }) => Effect.Effect<{ readonly key: ClientKey; readonly secret: Redacted.Redacted }, StoreUnavailable>
  readonly list: Effect.Effect<ReadonlyArray<ClientKey>>
  readonly get: (id: string) => Effect.Effect<ClientKey, NotFound>
  readonly rename: (id: string, name: string) => Effect.Effect<ClientKey, NotFound | StoreUnavailable>
  /** From the next request on the key opens nothing. */
  readonly revoke: (id: string) => Effect.Effect<void, NotFound | StoreUnavailable>
  /** The key that this secret is, if it is one and not revoked; no I/O. */
  readonly find: (secret: Redacted.Redacted) => ClientKey | undefined
  /** True for good once a key was made, also after the last was revoked: the `auto` rule of client authentication. */
  readonly existed: () => boolean
}>()("tokenhub/ClientKeys") {}
