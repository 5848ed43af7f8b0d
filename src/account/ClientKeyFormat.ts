/**
 * What a client key looks like: `th_`, 30 random characters of the base62 alphabet 0-9 A-Z a-z (178 bits), and 6 more that
 * are the CRC-32 (zlib's) of those 30 as a base62 number with leading zeros. So a secret scanner knows keys for sure, and who is told
 * that a key is wrong can see whether it was mistyped or cut (the idea of GitHub's token format).
 */
import { hash, randomBytes } from "node:crypto"
import { crc32 } from "node:zlib"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
const prefix = "th_"
const randomLength = 30
const checksumLength = 6

const checksum = (random: string): string => {
  let digits = ""
  for (let rest = crc32(random); digits.length < checksumLength; rest = Math.floor(rest / 62)) {
    digits = alphabet.charAt(rest % 62) + digits
  }
  return digits
}

/** 30 characters, each of the 62 equally likely: bytes that would favour some are thrown away. */
const random = (): string => {
  let text = ""
  while (text.length < randomLength) {
    for (const byte of randomBytes(randomLength)) {
      if (byte < 248 && text.length < randomLength) text += alphabet.charAt(byte % 62)
    }
  }
  return text
}

/** A new key. */
export const generate = (): string => {
  const body = random()
  return prefix + body + checksum(body)
}

/** What a key is known by: its SHA-256, in hex. */
export const hashOf = (key: string): string => hash("sha256", key, "hex")

/** The first characters, by which a person recognises a key. */
export const shown = (key: string): string => key.slice(0, prefix.length + 6)
