/** A256CBC-HS512, the authenticated encryption of RFC 7518 §5.2.5. Pure bytes. */
import { Data, Result } from "effect"
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto"

/** The bytes are damaged, or were sealed under another key or for another place. Deliberately says no more than that. */
export class VaultIntegrityError extends Data.TaggedError("VaultIntegrityError") {
  override readonly message = "The sealed data does not open: it is damaged, or was sealed under another key"
}

/** Any fault of an open, as a value. */
export const integrityFault: Result.Result<never, VaultIntegrityError> = Result.fail(new VaultIntegrityError())

/** 64 bytes: 32 for the MAC, then 32 for the cipher. */
export const keyBytes = 64
export const ivBytes = 16
export const tagBytes = 32

export interface Sealed {
  /** 16 bytes. */
  readonly iv: Uint8Array
  /** AES-256-CBC with PKCS#7: a multiple of 16, at least 16. */
  readonly ciphertext: Uint8Array
  /** 32 bytes. */
  readonly tag: Uint8Array
}

/** HMAC-SHA-512 over `AAD ‖ IV ‖ ciphertext ‖ u64 AAD length in bits`, cut to 32 bytes. */
const authenticate = (key: Uint8Array, aad: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array): Buffer => {
  const bits = Buffer.alloc(8)
  bits.writeBigUInt64BE(BigInt(aad.length) * 8n)
  const digest = createHmac("sha512", key.subarray(0, 32)).update(aad).update(iv).update(ciphertext).update(bits).digest()
  return digest.subarray(0, tagBytes)
}

/**
 * Encrypts and authenticates.
 *
 * @param key 64 bytes
 * @param iv 16 bytes; random unless given, and never used twice with one key
 */
export const seal = (key: Uint8Array, plaintext: Uint8Array, aad: Uint8Array, iv: Uint8Array = randomBytes(ivBytes)): Sealed => {
  const cipher = createCipheriv("aes-256-cbc", key.subarray(32), iv)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return { iv, ciphertext, tag: authenticate(key, aad, iv, ciphertext) }
}

/**
 * The plaintext, in a buffer of its own that the caller may zero. The tag is compared in constant time before anything is
 * decrypted; faults of length, tag and padding are the same error.
 *
 * @param key 64 bytes
 */
export const open = (key: Uint8Array, sealed: Sealed, aad: Uint8Array): Result.Result<Buffer, VaultIntegrityError> => {
  const { ciphertext, iv, tag } = sealed
  if (key.length !== keyBytes || iv.length !== ivBytes || tag.length !== tagBytes) return integrityFault
  if (ciphertext.length === 0 || ciphertext.length % 16 !== 0) return integrityFault
  if (!timingSafeEqual(authenticate(key, aad, iv, ciphertext), tag)) return integrityFault
  const decipher = createDecipheriv("aes-256-cbc", key.subarray(32), iv)
  const head = decipher.update(ciphertext)
  try {
    const tail = decipher.final()
    const plaintext = Buffer.allocUnsafeSlow(head.length + tail.length)
    head.copy(plaintext)
    tail.copy(plaintext, head.length)
    tail.fill(0)
    return Result.succeed(plaintext)
  } catch {
    return integrityFault
  } finally {
    head.fill(0)
  }
}
