import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Settings } from "../../src/Settings.ts"
import { Database } from "../../src/store/Database.ts"
import { checkLedger } from "../../src/store/LedgerCheck.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as Store from "../../src/store/Store.ts"
import { kill, spawnStore } from "../support/StoreProcess.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const at = (path: string) => Store.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: path }))))

const logging = (logged: Array<string>) => Logger.layer([Logger.make(({ message }) => { logged.push(String(message)) })])

it.live("a damaged ledger is told of in the log, and does not stop the start", () =>
  Effect.gen(function*() {
    const path = Path.join(yield* folder, "tokenhub.db")
    const logged: Array<string> = []
    const check = Effect.flatMap(Database, ({ location }) => checkLedger(location)).pipe(
      Effect.andThen(Effect.flatMap(SettingStore, (settings) => settings.set("fact", "kept"))),
      Effect.provide(Layer.mergeAll(at(path), logging(logged)), { local: true })
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

it.live("the ledger is checked beside the serving after an unclean stop, and only then", () =>
  Effect.gen(function*() {
    const path = Path.join(yield* folder, "tokenhub.db")
    const { child, lines } = spawnStore(path, "Effect.andThen(say('open'), Effect.never)")
    assert.strictEqual((yield* Effect.promise(() => lines.next())).value, "open")
    yield* Effect.promise(() => kill(child))
    const logged: Array<string> = []
    const serving = (wait: () => boolean) =>
      Effect.gen(function*() {
        yield* (yield* SettingStore).set("fact", "kept")
        while (wait()) yield* Effect.sleep(5)
      }).pipe(Effect.provide(Layer.provideMerge(at(path), logging(logged)), { local: true }))
    yield* serving(() => !logged.includes("The ledger is whole"))
    assert.match(logged[0] ?? "", /was not closed the last time; the ledger is checked in the background/)
    logged.length = 0
    yield* serving(() => false)
    assert.deepStrictEqual(logged, [])
  }))

/** The processes that have this word on their command line, by Linux' own list. */
const processesWith = (word: string) =>
  Fs.readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(word)
    } catch {
      return false
    }
  })

it.live.skipIf(!Fs.existsSync("/proc/self/cmdline"))("a check that takes long does not hold up the end", () =>
  Effect.gen(function*() {
    // Whoever opens it waits for a writer that never comes.
    const endless = Path.join(yield* folder, "endless.db")
    assert.strictEqual(spawnSync("mkfifo", [endless]).status, 0)
    const checking = yield* Effect.forkChild(checkLedger(endless), { startImmediately: true })
    while (processesWith(endless).length === 0) yield* Effect.sleep(5)
    yield* Fiber.interrupt(checking)
    assert.deepStrictEqual(processesWith(endless), [])
  }))

it.live("a file that can't be checked is told of", () =>
  Effect.gen(function*() {
    const path = Path.join(yield* folder, "no.db")
    const logged: Array<string> = []
    yield* Effect.provide(checkLedger(path), logging(logged))
    Fs.writeFileSync(path, "dear diary ".repeat(1000))
    yield* Effect.provide(checkLedger(path), logging(logged))
    assert.deepStrictEqual(logged, [
      "The ledger can't be checked: The database file can't be opened",
      "The ledger can't be checked: The file is not a SQLite database"
    ])
  }))
