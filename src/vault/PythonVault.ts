/**
 * Vaults of the Python generation: `{"salt": base64, "data": {name: base64(iv ‖ AES-256-CBC with PKCS#7)}}`. The key is
 * PBKDF2-HMAC-SHA256 over the password with 100,000 iterations, 32 bytes. There is no MAC: that a passphrase is wrong shows
 * only in padding and text that make no sense.
 */
import { Redacted, Result, Schema } from "effect"
import { createDecipheriv } from "node:crypto"
import { type InvalidRequest, WrongPassword } from "../domain/RequestError.ts"
import { fromBase64, malformed, type SealedSecrets } from "./Secrets.ts"

const iterations = 100_000
const ivBytes = 16

const decodeFile = Schema.decodeUnknownResult(
  Schema.fromJsonString(Schema.Struct({ salt: Schema.String, data: Schema.Record(Schema.String, Schema.String) }))
)

/** `provider_<name>_api_key` becomes `provider/<name>`; any other name stays. */
const currentName = (name: string): string => {
  const provider = /^provider_(.+)_api_key$/s.exec(name)?.[1]
  return provider === undefined ? name : `provider/${provider}`
}

/** The text, or undefined where padding or UTF-8 are wrong. */
const decrypt = (key: Uint8Array, sealed: Buffer): Redacted.Redacted | undefined => {
  try {
    const decipher = createDecipheriv("aes-256-cbc", key, sealed.subarray(0, ivBytes))
    const plaintext = Buffer.concat([decipher.update(sealed.subarray(ivBytes)), decipher.final()])
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plaintext)
    plaintext.fill(0)
    return Redacted.make(text)
  } catch {
    return undefined
  }
}

/** Reads a vault of the Python generation. A fault in its form names the entry. */
export const readPythonVault = (data: Uint8Array): Result.Result<SealedSecrets, InvalidRequest> =>
  Result.gen(function*() {
    const file = yield* Result.orElse(
      decodeFile(Buffer.from(data).toString("utf8")),
      () => malformed("The data is not a vault of the Python generation: it must be {\"salt\": …, \"data\": {name: …}}, all base64 texts")
    )
    const salt = fromBase64(file.salt)
    if (salt === undefined || salt.length === 0) return yield* malformed("The Python vault's salt is not base64")
    const entries = new Map<string, Buffer>()
    for (const [name, text] of Object.entries(file.data)) {
      const sealed = fromBase64(text)
      if (sealed === undefined) return yield* malformed(`The Python vault's entry '${name}' is not base64`)
      if (sealed.length < 2 * ivBytes || sealed.length % 16 !== 0) return yield* malformed(`The Python vault's entry '${name}' is cut short`)
      if (entries.has(currentName(name))) return yield* malformed(`The Python vault has two entries for '${currentName(name)}'`)
      entries.set(currentName(name), sealed)
    }
    return { salt, iterations, open: (masterKey: Uint8Array) => openAll(masterKey, entries) }
  })

const openAll: (masterKey: Uint8Array, entries: ReadonlyMap<string, Buffer>) => ReturnType<SealedSecrets["open"]> = (masterKey, entries) => {
  const secrets = new Map<string, Redacted.Redacted>()
  const failed: Array<string> = []
  for (const [name, sealed] of entries) {
    const text = decrypt(masterKey, sealed)
    if (text === undefined) failed.push(name)
    else secrets.set(name, text)
  }
  if (failed.length === 0) return Result.succeed(secrets)
  return secrets.size === 0
    ? Result.fail(new WrongPassword({ message: "The passphrase does not open the Python vault" }))
    : malformed(`The Python vault's entries do not decrypt: ${failed.join(", ")}; nothing was imported`)
}
