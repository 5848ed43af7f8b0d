/**
 * Bytes that lie outside of the vault's own table, under a key that only the open vault has. Pure; all numbers are big-endian.
 *
 * Key, 64 bytes: HKDF-SHA256(RK, salt empty, info `tokenhub/v1/sealed`). Sealed bytes, 60 + n of them:
 *
 * | offset | length | field |
 * |---|---|---|
 * | 0 | 4 | `THB1` |
 * | 4 | 1 + 1 + 2 | version 1, aead 1 (A256CBC-HS512), zero |
 * | 8 | 4 | RK epoch |
 * | 12 | 16 | IV |
 * | 28 | n | ciphertext, a multiple of 16 |
 * | 28 + n | 32 | tag |
 *
 * AAD: `out` ‖ 0x00 ‖ vault id ‖ per part of the place: u16 length ‖ UTF-8 ‖ last the bytes 0…11. What was moved to another
 * place, or sealed under a root key that `rekey` replaced, does not open.
 */
import type { Result } from "effect"
import * as Aead from "./Aead.ts"
import { integrityFault, keyBytes, type VaultIntegrityError } from "./Aead.ts"
import { type Root, uint } from "./Envelope.ts"
import { hkdf } from "./KeyDerivation.ts"

/** Where sealed bytes lie: what they are for, then whose and which they are. Each part has at most 65,535 bytes of UTF-8. */
export type Place = readonly [purpose: string, ...names: ReadonlyArray<string>]

const sealedStart = Buffer.from("THB1\x01\x01\x00\x00", "latin1")
const ivOffset = 12
const ciphertextOffset = 28

const startOf = ({ epoch }: Root): Buffer => Buffer.concat([sealedStart, uint(epoch, 4)])

const aadOf = ({ vaultId }: Root, place: Place, start: Uint8Array): Buffer => {
  const parts = place.flatMap((part) => {
    const bytes = Buffer.from(part, "utf8")
    return [uint(bytes.length, 2), bytes]
  })
  return Buffer.concat([Buffer.from("out\0", "latin1"), vaultId, ...parts, start])
}

const withKey = <A>({ rk }: Root, use: (key: Buffer) => A): A => {
  const key = hkdf(rk, "tokenhub/v1/sealed", keyBytes)
  try {
    return use(key)
  } finally {
    key.fill(0)
  }
}

export const seal = (root: Root, place: Place, bytes: Uint8Array): Buffer => {
  const start = startOf(root)
  const { ciphertext, iv, tag } = withKey(root, (key) => Aead.seal(key, bytes, aadOf(root, place, start)))
  return Buffer.concat([start, iv, ciphertext, tag])
}

/** The bytes that were sealed for this place under this root. */
export const open = (root: Root, place: Place, bytes: Uint8Array): Result.Result<Buffer, VaultIntegrityError> => {
  const sealed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = startOf(root)
  const tagOffset = sealed.length - Aead.tagBytes
  if (tagOffset < ciphertextOffset || !sealed.subarray(0, ivOffset).equals(start)) return integrityFault
  const parts = {
    iv: sealed.subarray(ivOffset, ciphertextOffset),
    ciphertext: sealed.subarray(ciphertextOffset, tagOffset),
    tag: sealed.subarray(tagOffset)
  }
  return withKey(root, (key) => Aead.open(key, parts, aadOf(root, place, start)))
}
