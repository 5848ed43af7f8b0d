/** A vault that its password opened, and the changes that can be made to it. Pure: nothing here reads or writes a database. */
import { Result } from "effect"
import { randomBytes } from "node:crypto"
import type { VaultChange, VaultImage } from "../store/VaultStore.ts"
import { integrityFault, keyBytes, type VaultIntegrityError } from "./Aead.ts"
import {
  decodeHeader, type Header, manifest, manifestHolds, openHeader, openSecret, rewrapSecret, type Root, sealHeader, sealSecret, secretVersion
} from "./Envelope.ts"
import type { PasswordSlot } from "./KeyDerivation.ts"

export interface OpenVault {
  readonly image: VaultImage
  readonly header: Header
  readonly root: Root
  readonly kek: Uint8Array
  /** Names whose record does not open. */
  readonly corrupt: ReadonlySet<string>
  /** Whether the rows are those that the last change left: none deleted, none rolled back. */
  readonly complete: boolean
}

/**
 * Opens a stored vault. Succeeds wherever the header does: broken records and a manifest that does not hold are facts of the
 * result, so that one broken record does not close the others.
 */
export const openVault = (image: VaultImage, kek: Uint8Array): Result.Result<OpenVault, VaultIntegrityError> =>
  Result.gen(function*() {
    const header = yield* decodeHeader(image.header)
    const rk = yield* openHeader(image.header, kek)
    const root: Root = { rk, epoch: header.epoch, vaultId: header.vaultId }
    const corrupt = new Set<string>()
    for (const [name, record] of image.records) {
      const value = openSecret(root, name, record)
      if (Result.isSuccess(value)) value.success.fill(0)
      else corrupt.add(name)
    }
    const complete = image.generation === header.generation && manifestHolds(image.manifest, rk, header.generation, image.records)
    return { image, header, root, kek, corrupt, complete }
  })

/** True where rows were deleted or rolled back and no broken record explains it: which secrets are right can't be told. */
export const isUntrustworthy = (vault: OpenVault): boolean => !vault.complete && vault.corrupt.size === 0

/** A secret's value, in a buffer that the caller may zero. */
export const readSecret = (vault: OpenVault, name: string): Result.Result<Buffer, VaultIntegrityError> => {
  const record = vault.image.records.get(name)
  return record === undefined || isUntrustworthy(vault) ? integrityFault : openSecret(vault.root, name, record)
}

/** Forgets the keys. */
export const wipe = (vault: OpenVault): void => {
  vault.root.rk.fill(0)
  vault.kek.fill(0)
}

/** The stored vault after a change. */
export const applyChange = (records: VaultImage["records"], change: VaultChange): VaultImage => {
  const after = new Map(records)
  for (const name of change.remove) after.delete(name)
  for (const [name, record] of change.put) after.set(name, record)
  return { header: change.header, manifest: change.manifest, generation: change.generation, records: after }
}

/**
 * The vault after a change, opened from its bytes as the next start will open it; undefined where it does not open whole, or where
 * a record does not that did before. The KEK is copied.
 */
export const testOpened = (before: OpenVault, change: VaultChange, kek: Uint8Array): OpenVault | undefined => {
  const after = Result.getOrUndefined(openVault(applyChange(before.image.records, change), Buffer.from(kek)))
  return after?.complete === true && Array.from(after.corrupt).every((name) => before.corrupt.has(name)) ? after : undefined
}

const sealChange = (
  records: VaultImage["records"],
  header: Header,
  kek: Uint8Array,
  rk: Uint8Array,
  put: ReadonlyMap<string, Uint8Array>,
  remove: ReadonlyArray<string>
): VaultChange => {
  const change = { header: sealHeader(header, kek, rk), manifest: new Uint8Array(), generation: header.generation, put, remove }
  return { ...change, manifest: manifest(rk, header.generation, applyChange(records, change).records) }
}

/** The first generation of a new vault: a random id, a random root key, and the secrets given. */
export const createVault = (slot: PasswordSlot, values: ReadonlyMap<string, Uint8Array>): VaultChange => {
  const root: Root = { rk: randomBytes(keyBytes), epoch: 1, vaultId: randomBytes(16) }
  const { iterations, salt, verifier } = slot
  const header: Header = { iterations, salt, vaultId: root.vaultId, epoch: root.epoch, generation: 1n, verifier }
  const put = new Map(Array.from(values, ([name, value]) => [name, sealSecret(root, name, 1, value)]))
  const change = sealChange(new Map(), header, slot.kek, root.rk, put, [])
  root.rk.fill(0)
  return change
}

/** The next version of a secret; what a broken record claims may be the last there is. */
const nextVersion = (record: Uint8Array | undefined): number => {
  const version = record === undefined ? 0 : secretVersion(record)
  return version === 0xffff_ffff ? 1 : version + 1
}

/** The change that stores these values and removes these names. */
export const changeSecrets = (vault: OpenVault, values: ReadonlyMap<string, Uint8Array>, remove: ReadonlyArray<string>): VaultChange => {
  const { records } = vault.image
  const put = new Map(Array.from(values, ([name, value]) => [name, sealSecret(vault.root, name, nextVersion(records.get(name)), value)]))
  const header = { ...vault.header, generation: vault.header.generation + 1n }
  return sealChange(records, header, vault.kek, vault.root.rk, put, remove)
}

/** The change that puts another password in place; with `rekey` also a new root key, under which every record is wrapped anew. */
export const changePassword = (vault: OpenVault, slot: PasswordSlot, rekey: boolean): Result.Result<VaultChange, VaultIntegrityError> =>
  Result.gen(function*() {
    const { iterations, salt, verifier } = slot
    const { records } = vault.image
    const root: Root = rekey ? { ...vault.root, rk: randomBytes(keyBytes), epoch: vault.root.epoch + 1 } : vault.root
    const put = new Map<string, Uint8Array>()
    for (const [name, record] of rekey ? records : []) put.set(name, yield* rewrapSecret(vault.root, root, name, record))
    const header = { ...vault.header, iterations, salt, verifier, epoch: root.epoch, generation: vault.header.generation + 1n }
    const change = sealChange(records, header, slot.kek, root.rk, put, [])
    if (rekey) root.rk.fill(0)
    return change
  })
