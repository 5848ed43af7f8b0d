/**
 * The vault's bytes at rest: header, secret records, manifest. Pure; all numbers are big-endian.
 *
 * Keys: a password's KEK wraps the root key (RK) in the header, RK wraps one key (DEK) per secret version, DEK seals the value.
 * RK, KEK and DEK have 64 bytes.
 */
import { Result } from "effect"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import * as Aead from "./Aead.ts"
import { integrityFault, keyBytes, type VaultIntegrityError } from "./Aead.ts"
import { hkdf } from "./KeyDerivation.ts"

/** What the header says in clear. */
export interface Header {
  readonly iterations: number
  /** 32 bytes. */
  readonly salt: Uint8Array
  /** 16 bytes, random, the vault's for good. */
  readonly vaultId: Uint8Array
  /** Counts root keys, from 1. */
  readonly epoch: number
  /** Counts changes of the vault, from 1. */
  readonly generation: bigint
  /** SHA-256(AV), 32 bytes. */
  readonly verifier: Uint8Array
}

/** What a record is bound to besides its own first 16 bytes. */
export interface Root {
  readonly rk: Uint8Array
  readonly epoch: number
  /** 16 bytes. */
  readonly vaultId: Uint8Array
}

const headerBytes = 233
const headerAad = 105
const saltBytes = 32
const wrappedBytes = 80
/** Magic, then version 1, kdf 1 (PBKDF2-HMAC-SHA256), aead 1 (A256CBC-HS512), flags 0. */
const headerStart = Buffer.from("THV1\x01\x01\x01\x00", "latin1")
/** Magic, then version 1, aead 1 (A256CBC-HS512), two zeros. */
const recordStart = Buffer.from("THS1\x01\x01\x00\x00", "latin1")
const valueOffset = 144
const ciphertextOffset = 164
/** The longest value, in bytes of UTF-8. */
export const maxValueBytes = 65_536
const maxCiphertextBytes = maxValueBytes + 16

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Big-endian. */
export const uint = (value: number, length: 1 | 2 | 4): Buffer => {
  const bytes = Buffer.alloc(length)
  bytes.writeUIntBE(value, 0, length)
  return bytes
}

const uint64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** `IV ‖ 80 bytes ‖ tag`: how a 64-byte key lies wrapped, 128 bytes from `offset` on. */
const wrappedAt = (bytes: Buffer, offset: number): Aead.Sealed => {
  const ciphertext = offset + Aead.ivBytes
  const tag = ciphertext + wrappedBytes
  return {
    iv: bytes.subarray(offset, ciphertext),
    ciphertext: bytes.subarray(ciphertext, tag),
    tag: bytes.subarray(tag, tag + Aead.tagBytes)
  }
}

/** The header's 233 bytes, with RK wrapped under KEK and a fresh IV. */
export const sealHeader = (header: Header, kek: Uint8Array, rk: Uint8Array): Buffer => {
  const clear = Buffer.concat([
    headerStart,
    uint(header.iterations, 4),
    uint(saltBytes, 1),
    header.salt,
    header.vaultId,
    uint(header.epoch, 4),
    uint64(header.generation),
    header.verifier
  ])
  const wrapped = Aead.seal(kek, rk, clear)
  return Buffer.concat([clear, wrapped.iv, wrapped.ciphertext, wrapped.tag])
}

/** The header's clear part. Nothing of it is proven before `openHeader`. */
export const decodeHeader = (bytes: Uint8Array): Result.Result<Header, VaultIntegrityError> => {
  const header = view(bytes)
  if (header.length !== headerBytes || !header.subarray(0, 8).equals(headerStart) || header[12] !== saltBytes) return integrityFault
  return Result.succeed({
    iterations: header.readUInt32BE(8),
    salt: header.subarray(13, 45),
    vaultId: header.subarray(45, 61),
    epoch: header.readUInt32BE(61),
    generation: header.readBigUInt64BE(65),
    verifier: header.subarray(73, 105)
  })
}

/** RK, if KEK opens this header and every byte of it is the one that was sealed. */
export const openHeader = (bytes: Uint8Array, kek: Uint8Array): Result.Result<Buffer, VaultIntegrityError> => {
  const header = view(bytes)
  if (header.length !== headerBytes || !header.subarray(0, 8).equals(headerStart)) return integrityFault
  return rootKey(Aead.open(kek, wrappedAt(header, headerAad), header.subarray(0, headerAad)))
}

/** A key that was wrapped is 64 bytes; anything else is a fault. */
const rootKey = (opened: Result.Result<Buffer, VaultIntegrityError>): Result.Result<Buffer, VaultIntegrityError> =>
  Result.filterOrFail(opened, (key) => key.length === keyBytes, () => new Aead.VaultIntegrityError())

/** The one form of a secret's name: Unicode form C. */
export const secretName = (name: string): string => name.normalize("NFC")

const nameBytes = (name: string): Buffer => Buffer.from(secretName(name), "utf8")

const recordAad = (label: "dek" | "val", vaultId: Uint8Array, name: string, start: Uint8Array): Buffer => {
  const bytes = nameBytes(name)
  return Buffer.concat([Buffer.from(`${label}\0`, "latin1"), vaultId, uint(bytes.length, 2), bytes, start])
}

const sealRecord = (root: Root, name: string, version: number, dek: Uint8Array, value: Uint8Array): Buffer => {
  const start = Buffer.concat([recordStart, uint(root.epoch, 4), uint(version, 4)])
  const key = Aead.seal(root.rk, dek, recordAad("dek", root.vaultId, name, start))
  const body = Aead.seal(dek, value, recordAad("val", root.vaultId, name, start))
  return Buffer.concat([start, key.iv, key.ciphertext, key.tag, body.iv, uint(body.ciphertext.length, 4), body.ciphertext, body.tag])
}

const openRecord = (
  root: Root,
  name: string,
  bytes: Uint8Array
): Result.Result<{ readonly dek: Buffer; readonly value: Buffer }, VaultIntegrityError> => {
  const record = view(bytes)
  if (record.length < ciphertextOffset || !record.subarray(0, 8).equals(recordStart)) return integrityFault
  const n = record.readUInt32BE(valueOffset + Aead.ivBytes)
  const end = ciphertextOffset + n
  if (n % 16 !== 0 || n > maxCiphertextBytes || record.length !== end + Aead.tagBytes) return integrityFault
  const start = record.subarray(0, 16)
  const key = rootKey(Aead.open(root.rk, wrappedAt(record, 16), recordAad("dek", root.vaultId, name, start)))
  if (Result.isFailure(key)) return integrityFault
  const dek = key.success
  const value = Aead.open(
    dek,
    {
      iv: record.subarray(valueOffset, valueOffset + Aead.ivBytes),
      ciphertext: record.subarray(ciphertextOffset, end),
      tag: record.subarray(end)
    },
    recordAad("val", root.vaultId, name, start)
  )
  if (Result.isFailure(value)) {
    dek.fill(0)
    return integrityFault
  }
  return Result.succeed({ dek, value: value.success })
}

/**
 * A secret's record, 196 + n bytes, under a fresh DEK.
 *
 * @param name at most 65,535 bytes in UTF-8 and form C
 * @param version 0…2^32 − 1; each put of a name raises it
 * @param value at most `maxValueBytes`
 */
export const sealSecret = (root: Root, name: string, version: number, value: Uint8Array): Buffer => {
  const dek = randomBytes(keyBytes)
  const record = sealRecord(root, name, version, dek, value)
  dek.fill(0)
  return record
}

/** A secret's value, in a buffer that the caller may zero. */
export const openSecret = (root: Root, name: string, record: Uint8Array): Result.Result<Buffer, VaultIntegrityError> =>
  Result.map(openRecord(root, name, record), ({ dek, value }) => {
    dek.fill(0)
    return value
  })

/**
 * The same secret under another root: its DEK is wrapped anew. The epoch is part of what both tags cover, so the value is
 * sealed again too, with a fresh IV.
 */
export const rewrapSecret = (from: Root, to: Root, name: string, record: Uint8Array): Result.Result<Buffer, VaultIntegrityError> =>
  Result.map(openRecord(from, name, record), ({ dek, value }) => {
    const rewrapped = sealRecord(to, name, secretVersion(record), dek, value)
    dek.fill(0)
    value.fill(0)
    return rewrapped
  })

/** The version that a record claims; 0 if it is too short to. */
export const secretVersion = (record: Uint8Array): number => (record.length < 16 ? 0 : view(record).readUInt32BE(12))

/**
 * The vault's manifest, 32 bytes: HMAC-SHA-256 over u64 generation, then per secret, sorted by the bytes of its name:
 * u16 length ‖ name ‖ u32 version ‖ the record's last tag. A row that is missing, older or extra gives another manifest.
 */
export const manifest = (rk: Uint8Array, generation: bigint, records: ReadonlyMap<string, Uint8Array>): Buffer => {
  const key = hkdf(rk, "tokenhub/v1/manifest", 32)
  const hmac = createHmac("sha256", key).update(uint64(generation))
  key.fill(0)
  const rows = Array.from(records, ([name, record]) => ({ name: nameBytes(name), record }))
  for (const { name, record } of rows.toSorted((a, b) => Buffer.compare(a.name, b.name))) {
    hmac.update(uint(name.length, 2)).update(name).update(uint(secretVersion(record), 4)).update(record.subarray(-Aead.tagBytes))
  }
  return hmac.digest()
}

/** Whether these are the records of this generation, compared in constant time. */
export const manifestHolds = (
  stored: Uint8Array,
  rk: Uint8Array,
  generation: bigint,
  records: ReadonlyMap<string, Uint8Array>
): boolean => stored.length === 32 && timingSafeEqual(stored, manifest(rk, generation, records))
