/** Secrets on their way into the vault, and what may be stored. */
import { Redacted, Result } from "effect"
import { InvalidRequest, type WrongPassword } from "../domain/RequestError.ts"
import { maxValueBytes, secretName } from "./Envelope.ts"

/** Secrets by name. */
export type Secrets = ReadonlyMap<string, Redacted.Redacted>

/** Values as UTF-8, under names in Unicode form C; whoever made the buffers zeroes them. */
export type SecretValues = ReadonlyMap<string, Buffer>

/** A file of secrets that was read, and waits for the key of its passphrase. */
export interface SealedSecrets {
  readonly salt: Uint8Array
  readonly iterations: number
  /** All secrets, or none: `masterKey` is PBKDF2-HMAC-SHA256 over the passphrase, 32 bytes. */
  readonly open: (masterKey: Uint8Array) => Result.Result<Secrets, WrongPassword | InvalidRequest>
}

const maxNameBytes = 512

const invalid = (param: "name" | "value" | "data", message: string) => new InvalidRequest({ message, param })

/** The error of a file that is wrong in itself. */
export const malformed = (message: string): Result.Result<never, InvalidRequest> => Result.fail(invalid("data", message))

const secretFault = (name: string, value: string): InvalidRequest | undefined => {
  const bytes = Buffer.byteLength(name, "utf8")
  if (!name.isWellFormed() || bytes === 0 || bytes > maxNameBytes) {
    return invalid("name", `A secret's name must have 1 to ${maxNameBytes} bytes of valid Unicode text`)
  }
  if (!value.isWellFormed()) return invalid("value", `The value of '${name}' must be valid Unicode text`)
  return Buffer.byteLength(value, "utf8") <= maxValueBytes
    ? undefined
    : invalid("value", `The value of '${name}' must have at most ${maxValueBytes} bytes`)
}

/** Secrets as they are stored; all of them good, or the first fault. */
export const secretValues = (secrets: Secrets): Result.Result<SecretValues, InvalidRequest> => {
  const values = new Map<string, Buffer>()
  for (const [given, value] of secrets) {
    const name = secretName(given)
    const fault = secretFault(name, Redacted.value(value))
    if (fault !== undefined) return Result.fail(fault)
    if (values.has(name)) return malformed(`The name '${name}' is there twice`)
    values.set(name, Buffer.from(Redacted.value(value), "utf8"))
  }
  return Result.succeed(values)
}

/** The bytes of a base64 text (RFC 4648 §4), line breaks and blanks left out; undefined where it is none. */
export const fromBase64 = (text: string): Buffer | undefined => {
  const compact = text.replace(/\s+/g, "")
  return /^[A-Za-z0-9+/]*={0,2}$/.test(compact) && compact.length % 4 === 0 ? Buffer.from(compact, "base64") : undefined
}
