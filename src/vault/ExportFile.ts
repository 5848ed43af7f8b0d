/**
 * The file that carries secrets from one TokenHub to another, under a passphrase of its own.
 *
 * The file is text: one line of base64 (RFC 4648 §4) of the bytes below, all numbers big-endian.
 *
 * | offset | length | field |
 * |---|---|---|
 * | 0 | 4 | `THX1` |
 * | 4 | 4 × 1 | version 1, kdf 1, aead 1, flags 0, as in the vault's header |
 * | 8 | 4 | iterations |
 * | 12 | 1 + 32 | salt length, salt |
 * | 45 | 4 | count of secrets |
 * | 49 | 16 | IV |
 * | 65 | n | ciphertext, A256CBC-HS512 with bytes 0…48 as AAD |
 * | 65 + n | 32 | tag: the HMAC over all that stands before it |
 *
 * Key, 64 bytes: HKDF-SHA256(PBKDF2-HMAC-SHA256(NFC(passphrase), salt, iterations), salt empty, info `tokenhub/v1/export`).
 * Plaintext, per secret, sorted by the bytes of its name: u16 length ‖ name ‖ u32 length ‖ value.
 */
import { Redacted, Result } from "effect"
import { type InvalidRequest, WrongPassword } from "../domain/RequestError.ts"
import * as Aead from "./Aead.ts"
import { hkdf } from "./KeyDerivation.ts"
import { fromBase64, malformed, type SealedSecrets, type Secrets } from "./Secrets.ts"

const start = Buffer.from("THX1\x01\x01\x01\x00", "latin1")
const saltBytes = 32
const aadBytes = 49
const bodyOffset = aadBytes + Aead.ivBytes

const exportKey = (masterKey: Uint8Array): Buffer => hkdf(masterKey, "tokenhub/v1/export", Aead.keyBytes)

/** The file's text as bytes. `masterKey` is the passphrase's, over `salt` (32 bytes) and `iterations`. */
export const writeExport = (masterKey: Uint8Array, salt: Uint8Array, iterations: number, secrets: Secrets): Buffer => {
  const named = Array.from(secrets, ([name, value]) => ({ name: Buffer.from(name, "utf8"), value }))
  const plaintext = Buffer.concat(
    named.toSorted((a, b) => Buffer.compare(a.name, b.name)).flatMap(({ name, value }) => {
      const text = Buffer.from(Redacted.value(value), "utf8")
      const lengths = Buffer.alloc(6)
      lengths.writeUInt16BE(name.length, 0)
      lengths.writeUInt32BE(text.length, 2)
      return [lengths.subarray(0, 2), name, lengths.subarray(2), text]
    })
  )
  const numbers = Buffer.alloc(4)
  const count = Buffer.alloc(4)
  numbers.writeUInt32BE(iterations)
  count.writeUInt32BE(secrets.size)
  const aad = Buffer.concat([start, numbers, Buffer.of(saltBytes), salt, count])
  const key = exportKey(masterKey)
  const sealed = Aead.seal(key, plaintext, aad)
  plaintext.fill(0)
  key.fill(0)
  const file = Buffer.concat([aad, sealed.iv, sealed.ciphertext, sealed.tag])
  return Buffer.from(`${file.toString("base64")}\n`, "latin1")
}

const takeSecrets = (plaintext: Buffer, count: number): Map<string, Redacted.Redacted> | undefined => {
  const secrets = new Map<string, Redacted.Redacted>()
  let offset = 0
  const take = (lengthBytes: 2 | 4): string => {
    const from = offset + lengthBytes
    offset = from + plaintext.readUIntBE(offset, lengthBytes)
    if (offset > plaintext.length) throw new RangeError("past the end")
    return plaintext.toString("utf8", from, offset)
  }
  try {
    for (let i = 0; i < count; i++) secrets.set(take(2), Redacted.make(take(4)))
  } catch {
    return undefined
  }
  return offset === plaintext.length && secrets.size === count ? secrets : undefined
}

/** Reads an exported file, as its text or as the bytes that the text stands for. */
export const readExport = (data: Uint8Array): Result.Result<SealedSecrets, InvalidRequest> => {
  const given = Buffer.from(data)
  const file = given.subarray(0, 4).equals(start.subarray(0, 4)) ? given : fromBase64(given.toString("latin1"))
  if (file === undefined || file.length < 4 || !file.subarray(0, 4).equals(start.subarray(0, 4))) {
    return malformed("The data is neither a TokenHub export nor a vault of the Python generation")
  }
  if (file.length < bodyOffset + Aead.tagBytes + 16) return malformed("The export is cut short")
  if (!file.subarray(0, 8).equals(start) || file[12] !== saltBytes) return malformed("The export is of a version that is not known here")
  return Result.succeed({
    salt: file.subarray(13, 45),
    iterations: file.readUInt32BE(8),
    open: (masterKey) => {
      const key = exportKey(masterKey)
      const end = file.length - Aead.tagBytes
      const opened = Aead.open(
        key,
        { iv: file.subarray(aadBytes, bodyOffset), ciphertext: file.subarray(bodyOffset, end), tag: file.subarray(end) },
        file.subarray(0, aadBytes)
      )
      key.fill(0)
      if (Result.isFailure(opened)) {
        return Result.fail(new WrongPassword({ message: "The passphrase does not open the export, or the export is damaged" }))
      }
      const secrets = takeSecrets(opened.success, file.readUInt32BE(45))
      opened.success.fill(0)
      return secrets === undefined ? malformed("The export's contents are not what its header says") : Result.succeed(secrets)
    }
  })
}
