import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Settings } from "../../src/Settings.ts"
import { Database } from "../../src/store/Database.ts"
import { checkLedger } from "../../src/store/LedgerCheck.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as Store from "../../src/store/Store.ts"

it.live("a damaged ledger is told of in the log, and does not stop the start", () =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
      (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
    )
    const path = Path.join(folder, "tokenhub.db")
    const open = Store.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: path }))))
    const logged: Array<string> = []
    const log = Logger.layer([Logger.make(({ message }) => { logged.push(String(message)) })])
    const check = Effect.flatMap(Database, ({ location }) => checkLedger(location)).pipe(
      Effect.andThen(Effect.flatMap(SettingStore, (settings) => settings.set("fact", "kept"))),
      Effect.provide(Layer.mergeAll(open, log), { local: true })
    )
    yield* check
    const db = new DatabaseSync(path)
    const row = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'requests'").get()
    db.close()
    const file = Fs.openSync(path, "r+")
    Fs.writeSync(file, Buffer.alloc(200, 0xff), 0, 200, (Number(row?.["rootpage"]) - 1) * 4096)
    Fs.closeSync(file)
    yield* check
    assert.strictEqual(logged[0], "The ledger is whole")
    assert.match(logged[1] ?? "", /^The ledger is damaged/)
  }))
