/** A file that brings secrets: an export of TokenHub, or a vault of the Python generation. */
import { Effect, type Redacted, Result } from "effect"
import { InvalidRequest, type TooManyRequests, type WrongPassword } from "../domain/RequestError.ts"
import { readExport } from "./ExportFile.ts"
import { busy, type KeyDerivation } from "./KeyDerivation.ts"
import { readPythonVault } from "./PythonVault.ts"
import { type SecretValues, secretValues } from "./Secrets.ts"

/** All secrets of a file, checked to be storable; nothing is stored. A file that starts with a brace is the Python generation's. */
export const openImport = Effect.fnUntraced(function*(
  derivation: KeyDerivation["Service"],
  data: Uint8Array,
  passphrase: Redacted.Redacted
): Effect.fn.Return<SecretValues, WrongPassword | InvalidRequest | TooManyRequests> {
  const isJson = /^\s*\{/.test(Buffer.from(data.subarray(0, 64)).toString("latin1"))
  const sealed = yield* Effect.fromResult(isJson ? readPythonVault(data) : readExport(data))
  const masterKey = yield* derivation.derive(passphrase, sealed.salt, sealed.iterations).pipe(
    Effect.catchTags({
      DerivationBusy: (error) => Effect.fail(busy(error)),
      IterationsOutOfRange: ({ message }) => Effect.fail(new InvalidRequest({ message: `The file can't be opened: ${message}`, param: "data" }))
    })
  )
  const secrets = sealed.open(masterKey)
  masterKey.fill(0)
  return yield* Effect.fromResult(Result.flatMap(secrets, secretValues))
})
