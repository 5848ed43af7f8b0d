import { Context, Effect, Layer, Redacted, Result, Semaphore } from "effect"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import {
  Conflict, InvalidRequest, NotFound, StoreUnavailable, type TooManyRequests, VaultCorrupt, VaultLocked, WrongPassword
} from "../domain/RequestError.ts"
import { Settings, SettingsError } from "../Settings.ts"
import type { StoreError } from "../store/StoreError.ts"
import { type VaultChange, type VaultImage, VaultStore } from "../store/VaultStore.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { decodeHeader, secretName } from "./Envelope.ts"
import { writeExport } from "./ExportFile.ts"
import { loadOrCreate } from "./FirstVault.ts"
import { openImport } from "./ImportFile.ts"
import { busy, freshSalt, freshSlot, KeyDerivation, passwordBytes, type PasswordSlot, passwordSlot } from "./KeyDerivation.ts"
import { changePassword, changeSecrets, isUntrustworthy, type OpenVault, openVault, readSecret, testOpened, wipe } from "./OpenVault.ts"
import { adminPasswordFault, hasPasswordLength, passwordFault } from "./Passwords.ts"
import type { Place } from "./SealedBytes.ts"
import * as SealedBytes from "./SealedBytes.ts"
import { type SecretValues, secretValues } from "./Secrets.ts"

export interface VaultStatus {
  readonly state: "unlocked" | "locked" | "uninitialised"
  readonly generation: bigint
  /** Sorted. Known while locked too: names are not secret. */
  readonly secrets: ReadonlyArray<string>
  readonly iterations: number
  /** Secrets that do not open, sorted; all of them where rows were deleted or rolled back. Known while unlocked only. */
  readonly corrupt: ReadonlyArray<string>
}

export interface ImportCounts {
  readonly added: number
  readonly replaced: number
  readonly unchanged: number
}

/** The secrets of this TokenHub, encrypted at rest under the admin password (VAULT.md). */
export class Vault extends Context.Service<Vault, {
  readonly status: Effect.Effect<VaultStatus>
  /** A secret's text. */
  readonly get: (name: string) => Effect.Effect<Redacted.Redacted, NotFound | VaultLocked | VaultCorrupt>
  /** Whether a secret of that name is stored, locked or not. */
  readonly has: (name: string) => boolean
  /** Stores a text of up to 64 KiB under a name. */
  readonly put: (name: string, value: Redacted.Redacted) => Effect.Effect<void, VaultLocked | InvalidRequest | Conflict | StoreUnavailable>
  readonly remove: (name: string) => Effect.Effect<void, VaultLocked | NotFound | Conflict | StoreUnavailable>
  /** Forgets the keys; `get` fails with VaultLocked until `unlock`. */
  readonly lock: Effect.Effect<void>
  readonly unlock: (password: Redacted.Redacted) => Effect.Effect<void, WrongPassword | TooManyRequests | VaultCorrupt>
  /** Changes the password; `rekey` makes a new root key too. */
  readonly rotate: (options: {
    readonly oldPassword: Redacted.Redacted
    readonly newPassword: Redacted.Redacted
    readonly rekey: boolean
  }) => Effect.Effect<void, WrongPassword | TooManyRequests | InvalidRequest | VaultLocked | VaultCorrupt | Conflict | StoreUnavailable>
  /** All secrets as the bytes of one file under their own passphrase. */
  readonly export: (passphrase: Redacted.Redacted) => Effect.Effect<Uint8Array, VaultLocked | VaultCorrupt | InvalidRequest | TooManyRequests>
  /** Secrets of an exported file, or of the Python generation's; all or nothing. */
  readonly import: (options: {
    readonly passphrase: Redacted.Redacted
    readonly data: Uint8Array
    readonly dryRun: boolean
  }) => Effect.Effect<ImportCounts, WrongPassword | TooManyRequests | InvalidRequest | VaultLocked | Conflict | StoreUnavailable>
  /** Whether these are the bytes of the admin password: constant time and no derivation while unlocked, a queued derivation while locked. */
  readonly isAdmin: (password: Redacted.Redacted) => Effect.Effect<boolean, TooManyRequests>
  /** Bytes for a place outside of the vault, as `SealedBytes` lays them out. */
  readonly seal: (place: Place, bytes: Uint8Array) => Effect.Effect<Uint8Array, VaultLocked>
  /** What was sealed for that place; undefined: it is damaged, of another place, or from before a `rekey`. */
  readonly unseal: (place: Place, sealed: Uint8Array) => Effect.Effect<Uint8Array | undefined, VaultLocked>
  /** Called after every change of keys or secrets, so that nobody serves from an old copy; returns how to stop it. */
  readonly onChange: (listener: () => void) => () => void
}>()("tokenhub/Vault") {
  /**
   * Opens the stored vault with the password of the environment, or makes the first one. A vault that this password does not
   * open stays as it is, locked. Fails where the start must stop: a password that may not be used, an import that can't be read.
   */
  static readonly layer: Layer.Layer<Vault, SettingsError | StoreError, Settings | VaultStore | KeyDerivation> = Layer.effect(
    Vault,
    Effect.suspend(() => make)
  )
}

const locked = () => new VaultLocked({ message: "The vault is locked; unlock it with POST /admin/vault/unlock" })
const wrongPassword = () => new WrongPassword({ message: "The password does not open the vault" })
const noSecret = (name: string) => new NotFound({ message: `No secret '${name}'` })
const corruptHeader = () => new VaultCorrupt({ message: "The vault's header is damaged; it is kept as it is: restore a backup" })
const corruptRecords = () =>
  new VaultCorrupt({
    message: "Records of the vault are missing, or older than they should be; it is kept as it is: restore a backup, " +
      "or import an export on a new database"
  })
const corruptRecord = (name: string) => new VaultCorrupt({ message: `The vault's record of '${name}' is damaged; it is kept as it is` })

const storeFault = (error: StoreError): Conflict | StoreUnavailable =>
  error.kind === "conflict"
    ? new Conflict({ message: "The vault was changed by another writer; nothing was changed here, try again" })
    : new StoreUnavailable({ message: error.message })

/** A secret's text, from an open vault that has one of that name. */
const textOf = (vault: OpenVault, name: string): Result.Result<Redacted.Redacted, VaultCorrupt> =>
  Result.match(readSecret(vault, name), {
    onFailure: () => Result.fail(corruptRecord(name)),
    onSuccess: (value) => {
      const text = Redacted.make(value.toString("utf8"))
      value.fill(0)
      return Result.succeed(text)
    }
  })

const make = Effect.gen(function*() {
  const settings = yield* Settings
  const store = yield* VaultStore
  const derivation = yield* KeyDerivation
  const weak = adminPasswordFault(settings.adminPassword)
  if (weak !== undefined) return yield* new SettingsError({ message: `TOKENHUB_ADMIN_PASSWORD ${weak}` })

  const writer = yield* Semaphore.make(1)
  const listeners = new Set<() => void>()
  const processKey = randomBytes(32)

  let image: VaultImage = yield* loadOrCreate({ settings, store, derivation })
  let vault: OpenVault | undefined
  /** While unlocked, the HMAC of the password that opened the vault, under the process key. */
  let admin: Buffer | undefined
  /** Texts that were asked for since the last change, so that a call upstream costs no decryption. */
  const texts = new Map<string, Redacted.Redacted>()

  const passwordMac = (password: Redacted.Redacted): Buffer => {
    const bytes = passwordBytes(password)
    const mac = createHmac("sha256", processKey).update(bytes).digest()
    bytes.fill(0)
    return mac
  }

  const isOpenedBy = (password: Redacted.Redacted): boolean => admin !== undefined && timingSafeEqual(admin, passwordMac(password))

  /** One writer at a time, and what it wrote is what is served: nobody leaves in between. */
  const exclusively = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => writer.withPermit(Effect.uninterruptible(effect))

  /** Puts a state in place: the stored bytes and, where it is open, the vault they hold. */
  const become = Effect.fnUntraced(function*(next: VaultImage, opened: OpenVault | undefined, mac: Buffer | undefined) {
    if (vault !== undefined) wipe(vault)
    texts.clear()
    image = next
    vault = opened
    admin = mac
    yield* Metrics.vaultUnlocked(opened !== undefined)
    yield* Metrics.vaultGeneration(next.generation)
    for (const listener of listeners) listener()
  })

  // Opening.

  const openWith = Effect.fnUntraced(function*(stored: VaultImage, slot: PasswordSlot, password: Redacted.Redacted) {
    const header = yield* Effect.mapError(Effect.fromResult(decodeHeader(stored.header)), corruptHeader)
    if (!timingSafeEqual(header.verifier, slot.verifier)) return yield* wrongPassword()
    const opened = yield* Effect.mapError(Effect.fromResult(openVault(stored, slot.kek)), corruptHeader)
    yield* become(stored, opened, passwordMac(password))
    for (const name of opened.corrupt) yield* Effect.logError(corruptRecord(name).message)
    if (!opened.complete) yield* Effect.logError(corruptRecords().message)
  })

  const unlockWith = Effect.fnUntraced(function*(password: Redacted.Redacted, load: Effect.Effect<VaultImage>) {
    if (!hasPasswordLength(password)) return yield* wrongPassword()
    const header = yield* Effect.mapError(Effect.fromResult(decodeHeader((yield* load).header)), corruptHeader)
    const slot = yield* passwordSlot(derivation, password, header).pipe(
      Effect.catchTags({ DerivationBusy: (error) => Effect.fail(busy(error)), IterationsOutOfRange: () => Effect.fail(corruptHeader()) })
    )
    yield* exclusively(Effect.suspend(() => {
      if (vault === undefined) return Effect.flatMap(load, (stored) => openWith(stored, slot, password))
      return isOpenedBy(password) ? Effect.void : Effect.fail(wrongPassword())
    }))
  })

  const latest = Effect.map(Effect.orElseSucceed(store.load, () => undefined), (stored) => stored ?? image)

  const unlock = Effect.fn("Vault.unlock")(function*(password: Redacted.Redacted) {
    if (vault === undefined) return yield* unlockWith(password, latest)
    if (!isOpenedBy(password)) return yield* wrongPassword()
  })

  const isAdmin = Effect.fnUntraced(function*(password: Redacted.Redacted) {
    if (vault !== undefined) return isOpenedBy(password)
    const header = Result.getOrUndefined(decodeHeader(image.header))
    if (header === undefined || !hasPasswordLength(password)) return false
    return yield* passwordSlot(derivation, password, header).pipe(
      Effect.map((slot) => {
        slot.kek.fill(0)
        return timingSafeEqual(header.verifier, slot.verifier)
      }),
      Effect.catchTags({ DerivationBusy: (error) => Effect.fail(busy(error)), IterationsOutOfRange: () => Effect.succeed(false) })
    )
  })

  // Reading.

  const unlocked = Effect.suspend(() => (vault === undefined ? Effect.fail(locked()) : Effect.succeed(vault)))

  /** The open vault, unless it can't be told which of its records are right. */
  const trusted = Effect.filterOrFail(unlocked, (open) => !isUntrustworthy(open), corruptRecords)

  const get = Effect.fnUntraced(function*(given: string) {
    const name = secretName(given)
    const known = texts.get(name)
    if (known !== undefined) return known
    if (vault === undefined && !image.records.has(name)) return yield* noSecret(name)
    const open = yield* trusted
    if (!open.image.records.has(name)) return yield* noSecret(name)
    const text = yield* Effect.fromResult(textOf(open, name))
    texts.set(name, text)
    return text
  })

  const status = Effect.sync((): VaultStatus => {
    const secrets = Array.from(image.records.keys()).toSorted()
    return {
      state: vault === undefined ? "locked" : "unlocked",
      generation: image.generation,
      secrets,
      iterations: Result.getOrUndefined(decodeHeader(image.header))?.iterations ?? 0,
      corrupt: secrets.filter((name) => vault !== undefined && (isUntrustworthy(vault) || vault.corrupt.has(name)))
    }
  })

  const exportAll = Effect.fn("Vault.export")(function*(passphrase: Redacted.Redacted) {
    const fault = passwordFault(passphrase)
    if (fault !== undefined) return yield* new InvalidRequest({ message: `passphrase ${fault}`, param: "passphrase" })
    yield* trusted
    const salt = freshSalt()
    const masterKey = yield* derivation.derive(passphrase, salt, settings.vaultIterations).pipe(
      Effect.catchTags({ DerivationBusy: (error) => Effect.fail(busy(error)), IterationsOutOfRange: Effect.die })
    )
    const open = yield* trusted
    const secrets = new Map<string, Redacted.Redacted>()
    for (const name of open.image.records.keys()) secrets.set(name, yield* Effect.fromResult(textOf(open, name)))
    const file = writeExport(masterKey, salt, settings.vaultIterations, secrets)
    masterKey.fill(0)
    return file
  })

  // Changing.

  const writable = Effect.catchTag(trusted, "VaultCorrupt", ({ message }) => Effect.fail(new Conflict({ message, code: "vault_corrupt" })))

  /** After a conflict: what the other writer left, if the same password still opens it. */
  const reload = Effect.gen(function*() {
    const stored = yield* latest
    const reopened = vault === undefined ? undefined : Result.getOrUndefined(openVault(stored, Buffer.from(vault.kek)))
    yield* become(stored, reopened, reopened === undefined ? undefined : admin)
    if (reopened === undefined) yield* Effect.logWarning("Another process changed the vault's password; the vault is locked here")
  })

  /** Test-opens a change, commits it unless another writer was first, and only then serves from it. */
  const commit = Effect.fnUntraced(function*(before: OpenVault, change: VaultChange, kek: Uint8Array, mac: Buffer | undefined) {
    const after = testOpened(before, change, kek)
    if (after === undefined) return yield* Effect.die(new Error("A change of the vault does not open again; it was not stored"))
    yield* store.commit(before.image.generation, change).pipe(
      Effect.onError(() => Effect.sync(() => wipe(after))),
      Effect.tapError((error) => (error.kind === "conflict" ? reload : Effect.void)),
      Effect.mapError(storeFault)
    )
    yield* become(after.image, after, mac)
  })

  const commitSecrets = (open: OpenVault, values: SecretValues, removed: ReadonlyArray<string>) =>
    Effect.suspend(() => commit(open, changeSecrets(open, values, removed), open.kek, admin))

  const spent = (values: SecretValues) => Effect.sync(() => values.forEach((value) => value.fill(0)))

  const put = Effect.fn("Vault.put")(function*(name: string, value: Redacted.Redacted) {
    const values = yield* Effect.fromResult(secretValues(new Map([[name, value]])))
    yield* exclusively(Effect.flatMap(writable, (open) => commitSecrets(open, values, []))).pipe(Effect.ensuring(spent(values)))
  })

  const remove = Effect.fn("Vault.remove")(function*(given: string) {
    const name = secretName(given)
    yield* exclusively(Effect.gen(function*() {
      const open = yield* writable
      if (!open.image.records.has(name)) return yield* noSecret(name)
      yield* commitSecrets(open, new Map(), [name])
    }))
  })

  const importAll = Effect.fn("Vault.import")(function*(options: {
    readonly passphrase: Redacted.Redacted
    readonly data: Uint8Array
    readonly dryRun: boolean
  }) {
    yield* writable
    const values = yield* openImport(derivation, options.data, options.passphrase)
    return yield* exclusively(Effect.gen(function*() {
      const open = yield* writable
      const counts = { added: 0, replaced: 0, unchanged: 0 }
      const changed = new Map<string, Buffer>()
      for (const [name, value] of values) {
        const stored = Result.getOrUndefined(readSecret(open, name))
        const fate = !open.image.records.has(name) ? "added" : stored?.equals(value) === true ? "unchanged" : "replaced"
        stored?.fill(0)
        counts[fate] += 1
        if (fate !== "unchanged") changed.set(name, value)
      }
      if (!options.dryRun && changed.size > 0) yield* commitSecrets(open, changed, [])
      return counts
    })).pipe(Effect.ensuring(spent(values)))
  })

  const rotate = Effect.fn("Vault.rotate")(function*(options: {
    readonly oldPassword: Redacted.Redacted
    readonly newPassword: Redacted.Redacted
    readonly rekey: boolean
  }) {
    const fault = adminPasswordFault(options.newPassword)
    if (fault !== undefined) return yield* new InvalidRequest({ message: `new_password ${fault}`, param: "new_password" })
    const authorised = Effect.filterOrFail(trusted, () => isOpenedBy(options.oldPassword), wrongPassword)
    yield* authorised
    const slot = yield* freshSlot(derivation, options.newPassword, settings.vaultIterations).pipe(
      Effect.mapError(busy)
    )
    yield* exclusively(Effect.gen(function*() {
      const open = yield* authorised
      const change = changePassword(open, slot, options.rekey)
      if (Result.isFailure(change)) {
        const names = Array.from(open.corrupt).join(", ")
        return yield* new VaultCorrupt({ message: `A new root key needs every record; put or remove the damaged ones first: ${names}` })
      }
      yield* commit(open, change.success, slot.kek, passwordMac(options.newPassword))
    })).pipe(Effect.ensuring(Effect.sync(() => slot.kek.fill(0))))
    yield* Effect.logWarning("The admin password was changed: change TOKENHUB_ADMIN_PASSWORD too, or the next start is locked")
  })

  const lock = exclusively(Effect.suspend(() => become(image, undefined, undefined)))

  yield* Effect.addFinalizer(() => Effect.sync(() => (vault === undefined ? undefined : wipe(vault))))
  yield* Effect.catch(unlockWith(settings.adminPassword, Effect.sync(() => image)), (error) =>
    Effect.andThen(
      lock,
      Effect.logError(
        `The vault stays locked, and nothing of it was changed: ${error.message} (tried with TOKENHUB_ADMIN_PASSWORD). ` +
          "Providers with keys from the environment serve. Unlock it with POST /admin/vault/unlock and the password it was last given."
      )
    ))

  return Vault.of({
    status,
    get,
    has: (name) => image.records.has(secretName(name)),
    put,
    remove,
    lock,
    unlock,
    rotate,
    export: exportAll,
    import: importAll,
    isAdmin,
    seal: (place, bytes) => Effect.map(unlocked, ({ root }) => SealedBytes.seal(root, place, bytes)),
    unseal: (place, sealed) => Effect.map(unlocked, ({ root }) => Result.getOrUndefined(SealedBytes.open(root, place, sealed))),
    onChange: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  })
})
