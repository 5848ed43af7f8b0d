import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { execFile } from "node:child_process"
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Vault } from "../../src/vault/Vault.ts"
import * as Harness from "../support/Harness.ts"

const script = fileURLToPath(new URL("../../scripts/export-vault.ts", import.meta.url))
const passphrase = "passphrase of the file"

/** Runs the script: its exit code, and all that it printed. */
const run = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  Effect.promise(() =>
    new Promise<{ readonly code: unknown; readonly said: string }>((resolve) => {
      const options = { env: { TOKENHUB_ADMIN_PASSWORD: Harness.adminPassword, TOKENHUB_VAULT_PASSPHRASE: passphrase, ...env } }
      execFile(process.execPath, [script, ...args], options, (error, out, errors) => resolve({ code: error === null ? 0 : error.code, said: out + errors }))
    })
  )

describe("`npm run export-vault`", { timeout: 30_000 }, () => {
  it.live("replaces the file by one that its owner alone may read and that another TokenHub imports", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const file = join(folder, "secrets.thx")
      writeFileSync(file, "an older export", { mode: 0o644 })
      const hub = yield* Harness.start()
      yield* Effect.promise(() => hub.admin("PUT", "/vault/secrets/moved", { value: "schlüssel" }))
      const { code, said } = yield* run([`${hub.url}/`, file])
      assert.strictEqual(code, 0, said)
      assert.strictEqual(statSync(file).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(folder), ["secrets.thx"])
      assert.notInclude(said, passphrase)
      const other = yield* Harness.start()
      const data = readFileSync(file, "latin1")
      const { json } = yield* Effect.promise(() => other.admin("POST", "/vault/import", { passphrase, data }))
      assert.deepStrictEqual(json, { added: 1, replaced: 0, unchanged: 0, dry_run: false })
      const vault = yield* Effect.provide(Vault, other.services)
      assert.strictEqual(Redacted.value(yield* vault.get("moved")), "schlüssel")
    }).pipe(Effect.scoped))

  it.live("says why nothing was exported, and leaves what was there alone", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const file = join(folder, "secrets.thx")
      writeFileSync(file, "an older export")
      const hub = yield* Harness.start()
      const wrong = yield* run([hub.url, file], { TOKENHUB_ADMIN_PASSWORD: "wrong password" })
      assert.strictEqual(wrong.code, 1)
      assert.match(wrong.said, /^Nothing was exported: 401 .+\n$/)
      const weak = yield* run([hub.url, file], { TOKENHUB_VAULT_PASSPHRASE: "short" })
      assert.match(weak.said, /^Nothing was exported: 400 .*passphrase must have 8 to 1024 bytes/)
      const nowhere = yield* run([hub.url, join(folder, "none", "secrets.thx")])
      assert.strictEqual(nowhere.code, 1)
      assert.strictEqual((yield* run([hub.url])).code, 2)
      assert.strictEqual(readFileSync(file, "utf8"), "an older export")
      assert.deepStrictEqual(readdirSync(folder), ["secrets.thx"])
      for (const { said } of [wrong, weak, nowhere]) assert.notMatch(said, /wrong password|correct horse|passphrase of the file/)
    }).pipe(Effect.scoped))
})
