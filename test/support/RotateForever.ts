/**
 * A process that rotates the password of a vault until it is killed: `node RotateForever.ts <database> <n>` opens it with the
 * n-th password, and prints the number of each password that was put in place.
 */
import { Effect, Layer, Logger, Redacted } from "effect"
import { writeSync } from "node:fs"
import { Settings } from "../../src/Settings.ts"
import { Database } from "../../src/store/Database.ts"
import { VaultStore } from "../../src/store/VaultStore.ts"
import { Vault } from "../../src/vault/Vault.ts"
import { quickKeyDerivation } from "./VaultDoubles.ts"

export const passwordNumber = (n: number): string => `the password number ${n}`

/** The vault of a database file, opened with the n-th password; without the work of the derivation. */
export const vaultAt = (path: string, n: number) => {
  const settings = Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: path, TOKENHUB_ADMIN_PASSWORD: passwordNumber(n) }))
  const store = VaultStore.layer.pipe(Layer.provide(Database.layer.pipe(Layer.provide(settings))))
  return Layer.fresh(Vault.layer.pipe(Layer.provide([store, quickKeyDerivation, settings])))
}

const rotateFrom = Effect.fnUntraced(function*(first: number) {
  const vault = yield* Vault
  writeSync(1, `${first}\n`)
  for (let n = first;; n++) {
    yield* vault.rotate({
      oldPassword: Redacted.make(passwordNumber(n)),
      newPassword: Redacted.make(passwordNumber(n + 1)),
      rekey: n % 2 === 0
    })
    writeSync(1, `${n + 1}\n`)
  }
})

if (import.meta.main) {
  const [path = "", n = "0"] = process.argv.slice(2)
  await Effect.runPromise(rotateFrom(Number(n)).pipe(Effect.provide([vaultAt(path, Number(n)), Logger.layer([])])))
}
