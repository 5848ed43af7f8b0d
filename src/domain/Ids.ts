/** The identifiers of TokenHub: branded strings, so that a model's name is never passed where a provider's belongs. */
import { Schema } from "effect"

/** What an admin and a client may call a provider instance or a model: visible ASCII without white space, at most 128 characters. */
const name = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/, {
    message: "must start with a letter or digit and hold only letters, digits and . _ : / @ + - (at most 128)"
  })
)

/** A model as clients name it; unique in one TokenHub. */
export const ModelName = name.pipe(Schema.brand("ModelName"))
export type ModelName = typeof ModelName.Type

/** A provider instance (`openai`, `openai-eu`, …); several may be of one type. Without a slash, since it is part of paths. */
export const ProviderName = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
    message: "must start with a letter or digit and hold only letters, digits and . _ - (at most 64)"
  })
).pipe(Schema.brand("ProviderName"))
export type ProviderName = typeof ProviderName.Type

/** One client request: `req_` and 26 characters that sort by time. */
export const RequestId = Schema.String.pipe(Schema.brand("RequestId"))
export type RequestId = typeof RequestId.Type

/** A client key's public handle: `key_` and 26 characters that sort by time. */
export const ClientKeyId = Schema.String.pipe(Schema.brand("ClientKeyId"))
export type ClientKeyId = typeof ClientKeyId.Type

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const timePart = (now: number): string => {
  let time = ""
  for (let i = 0, rest = now; i < 10; i++, rest = Math.floor(rest / 32)) time = alphabet[rest % 32] + time
  return time
}

/**
 * A ULID (github.com/ulid/spec): 48 bits of time in milliseconds and 80 random bits, 26 Crockford base32 characters.
 * `now` is Unix time in milliseconds.
 */
export const ulid = (now: number): string => {
  let tail = ""
  for (let i = 0; i < 16; i++) tail += alphabet[randomByte() & 31]
  return timePart(now) + tail
}

const latestTime = 2 ** 48 - 1

/** A system call for random bytes costs as much for four thousand of them as for one. */
const pool = new Uint8Array(4096)
let used = pool.length

const randomByte = (): number => {
  if (used === pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  return pool[used++] ?? 0
}

export const makeRequestId = (now: number): RequestId => RequestId.make(`req_${ulid(now)}`)

/** Sorts before all ids that were made from then on, and after all that were made before; Unix milliseconds. */
export const requestIdsFrom = (time: number): string => `req_${timePart(Math.min(Math.max(0, Math.ceil(time)), latestTime))}`

export const makeClientKeyId = (now: number): ClientKeyId => ClientKeyId.make(`key_${ulid(now)}`)
