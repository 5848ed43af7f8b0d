import { Context } from "effect"
import type { Effect } from "effect"
import type { VaultLocked } from "../domain/RequestError.ts"

/** What the bytes are for, then whose and which they are. */
export type Place = readonly [purpose: string, ...names: ReadonlyArray<string>]

/** How bytes are kept that the database's file must not show. A port: the vault stands behind it (`Server.ts`). */
export class Sealing extends Context.Service<Sealing, {
  readonly seal: (place: Place, bytes: Uint8Array) => Effect.Effect<Uint8Array, VaultLocked>
  /** What was sealed for that place; undefined: it does not open any more. */
  readonly unseal: (place: Place, sealed: Uint8Array) => Effect.Effect<Uint8Array | undefined, VaultLocked>
}>()("tokenhub/Sealing") {}
