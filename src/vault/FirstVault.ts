/** The vault of a first start: made under the password of the environment, with the secrets of `TOKENHUB_VAULT_IMPORT`. */
import { Effect, Redacted } from "effect"
import { readFile } from "node:fs/promises"
import { type Settings, SettingsError } from "../Settings.ts"
import type { StoreError } from "../store/StoreError.ts"
import type { VaultImage, VaultStore } from "../store/VaultStore.ts"
import { openImport } from "./ImportFile.ts"
import { freshSlot, type KeyDerivation } from "./KeyDerivation.ts"
import { applyChange, createVault } from "./OpenVault.ts"
import type { SecretValues } from "./Secrets.ts"

interface Parts {
  readonly settings: Settings["Service"]
  readonly store: VaultStore["Service"]
  readonly derivation: KeyDerivation["Service"]
}

const importedSecrets = Effect.fnUntraced(function*({ derivation, settings }: Parts): Effect.fn.Return<SecretValues, SettingsError> {
  const path = settings.vaultImport
  if (path === null) return new Map()
  const stop = (reason: string) => new SettingsError({ message: `TOKENHUB_VAULT_IMPORT: ${reason}` })
  const passphrase = Redacted.value(settings.vaultImportPassphrase)
  if (passphrase === null) return yield* stop("TOKENHUB_VAULT_IMPORT_PASSPHRASE must be set beside it")
  const data = yield* Effect.tryPromise({
    try: () => readFile(path),
    catch: () => stop(`the file ${JSON.stringify(path)} can't be read`)
  })
  return yield* Effect.mapError(openImport(derivation, data, Redacted.make(passphrase)), (error) => stop(error.message))
})

const create = Effect.fnUntraced(function*(parts: Parts) {
  const { derivation, settings, store } = parts
  const values = yield* importedSecrets(parts)
  const slot = yield* Effect.orDie(freshSlot(derivation, settings.adminPassword, settings.vaultIterations))
  const change = createVault(slot, values)
  for (const value of values.values()) value.fill(0)
  slot.kek.fill(0)
  yield* store.create(change)
  if (values.size > 0) yield* Effect.logInfo(`The new vault took ${values.size} secrets from ${settings.vaultImport}`)
  return applyChange(new Map(), change)
})

/** The stored vault; made where there is none, and never over one. Another process that was first is no error. */
export const loadOrCreate = Effect.fnUntraced(function*(parts: Parts): Effect.fn.Return<VaultImage, SettingsError | StoreError> {
  const stored = yield* parts.store.load
  if (stored !== undefined) return stored
  return yield* create(parts).pipe(
    Effect.catchIf(
      (error) => error._tag === "StoreError" && error.kind === "conflict",
      (error) => Effect.flatMap(parts.store.load, (image) => (image === undefined ? Effect.fail(error) : Effect.succeed(image)))
    )
  )
})
