/** The stores in a process of their own, to be locked out, stopped and killed. */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { createInterface } from "node:readline"

const sourceOf = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)

const prelude = `
  import { Effect, Layer } from ${JSON.stringify(import.meta.resolve("effect"))}
  import * as Store from ${sourceOf("store/Store.ts")}
  import { LedgerStore } from ${sourceOf("store/LedgerStore.ts")}
  import { Settings } from ${sourceOf("Settings.ts")}
  const live = Store.layer.pipe(Layer.provide(Settings.layerTest({ TOKENHUB_DB_PATH: process.env.DB })))
  const say = (line) => Effect.promise(() => new Promise((resolve) => process.stdout.write(line + "\\n", resolve)))
  const failed = (error) => say("refused " + error.kind + ": " + error.message)
  // An effect that waits for nothing but an interruption would not keep the process alive.
  setInterval(() => {}, 60_000)
`

/**
 * Runs a JavaScript expression that is an Effect on all stores; in scope are `Effect`, `LedgerStore` and `say(line)`. A start that
 * is refused prints `refused <kind>: <message>`.
 */
export const spawnStore = (dbPath: string, effect: string): { readonly child: ChildProcess; readonly lines: AsyncIterator<string> } => {
  const program = `${prelude}
    await Effect.runPromise((${effect}).pipe(Effect.provide(live), Effect.catchTag("StoreError", failed)))
    process.exit(0)`
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    env: { ...process.env, DB: dbPath, NODE_OPTIONS: "" },
    stdio: ["ignore", "pipe", "inherit"]
  })
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
}

/** Ends the process as a power cut would, and waits until it is gone. */
export const kill = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once("exit", () => resolve())
    child.kill("SIGKILL")
  })
