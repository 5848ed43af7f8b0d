import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Server from "../src/Server.ts"
import { Settings } from "../src/Settings.ts"
import * as Harness from "./support/Harness.ts"

/** The line that a start under these settings ends with. */
const failure = (environment: { readonly [name: string]: string }) =>
  Effect.gen(function*() {
    const folder = yield* Harness.folder
    const settings = Settings.layerTest({ TOKENHUB_HOST: "127.0.0.1", TOKENHUB_DB_PATH: join(folder, "tokenhub.db"), TOKENHUB_LOG_LEVEL: "none", TOKENHUB_VAULT_ITERATIONS: "100000", ...environment })
    const memoMap = yield* Layer.makeMemoMap
    return Server.startFailure(yield* Effect.flip(Layer.buildWithMemoMap(Server.make({ settings }), memoMap, yield* Effect.scope)))
  }).pipe(Effect.scoped)

describe("a start that can't be", { timeout: 30_000 }, () => {
  it.live.each<readonly [environment: { readonly [name: string]: string }, line: RegExp]>([
    // An address for documentation, which no machine has.
    [{ TOKENHUB_HOST: "203.0.113.7" }, /can't listen on TOKENHUB_HOST and TOKENHUB_PORT \(.*203\.0\.113\.7\): this machine has no such address$/],
    [{ TOKENHUB_ADMIN_PASSWORD: "changeme" }, /TOKENHUB_ADMIN_PASSWORD is one of those that every guesser tries first; choose another$/],
    [{ TOKENHUB_ADMIN_PASSWORD: "short" }, /TOKENHUB_ADMIN_PASSWORD must have 8 to 1024 bytes$/],
    [{ TOKENHUB_DB_PATH: "/dev/null/tokenhub.db" }, /\/dev\/null\/tokenhub\.db can't be made \(EEXIST|ENOTDIR\); set TOKENHUB_DB_PATH to another path$/],
    [{ TOKENHUB_VAULT_IMPORT: "/dev/null/none", TOKENHUB_VAULT_IMPORT_PASSPHRASE: "a passphrase" }, /TOKENHUB_VAULT_IMPORT: the file "\/dev\/null\/none" can't be read$/],
    [{ TOKENHUB_VAULT_IMPORT: "/dev/null" }, /TOKENHUB_VAULT_IMPORT: TOKENHUB_VAULT_IMPORT_PASSPHRASE must be set beside it$/],
    [{ TOKENHUB_PORT: "http" }, /TOKENHUB_PORT: "http" is wrong; allowed: a whole number from 0 to 65535/]
  ])("is told in one line: %s", ([environment, line]) =>
    Effect.gen(function*() {
      const said = yield* failure(environment)
      assert.match(said, line)
      assert.match(said, /^TokenHub can't start: [^\n]+$/)
      const password = environment["TOKENHUB_ADMIN_PASSWORD"]
      if (password !== undefined) assert.notInclude(said, password)
    }))

  it.live("is told in one line where the database is none of TokenHub's, which stays as it is", () =>
    Effect.gen(function*() {
      const path = join(yield* Harness.folder, "diary.txt")
      writeFileSync(path, "dear diary ".repeat(1000))
      assert.match(yield* failure({ TOKENHUB_DB_PATH: path }), /^TokenHub can't start: .*diary\.txt is not a SQLite database\. TokenHub left it as it is; set TOKENHUB_DB_PATH [^\n]+$/)
    }).pipe(Effect.scoped))
})
