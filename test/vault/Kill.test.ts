import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Redacted } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as wait } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { Vault } from "../../src/vault/Vault.ts"
import { vaultAt } from "../support/RotateForever.ts"

const kills = Number(process.env["TOKENHUB_TEST_KILLS"] ?? 5)
const rotateForever = fileURLToPath(new URL("../support/RotateForever.ts", import.meta.url))
const secrets = Array.from({ length: 20 }, (_, i) => `secret/${i}`)

/** The last password that the process said was in place before it was killed, after a random number of rotations. */
const killedWhileRotating = async (path: string, from: number): Promise<number> => {
  const child = spawn(process.execPath, [rotateForever, path, String(from)], { stdio: ["ignore", "pipe", "inherit"] })
  let output = ""
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()))
  const closed = once(child, "close")
  await once(child.stdout, "data")
  await wait(Math.random() * 100)
  child.kill("SIGKILL")
  await closed
  return Number(output.trimEnd().split("\n").at(-1))
}

/** Whether the n-th password opens the vault; if so, every secret must open too. */
const opens = (path: string, n: number) =>
  Effect.gen(function*() {
    const vault = yield* Vault
    const { secrets: names, state } = yield* vault.status
    if (state === "locked") return false
    assert.deepStrictEqual(names, secrets.toSorted())
    for (const name of names) assert.strictEqual(Redacted.value(yield* vault.get(name)), `the value of ${name}`)
    return true
  }).pipe(Effect.provide(vaultAt(path, n)))

describe("vault", () => {
  it.live(`killed ${kills} times while it rotates, opens with exactly one of the two passwords, and every secret opens`, () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tokenhub-"))),
        (created) => Effect.sync(() => rmSync(created, { recursive: true }))
      )
      const path = join(folder, "tokenhub.db")
      yield* Effect.flatMap(Vault, (vault) =>
        Effect.forEach(secrets, (name) => vault.put(name, Redacted.make(`the value of ${name}`)), { discard: true })).pipe(
          Effect.provide(vaultAt(path, 0))
        )
      let current = 0
      for (let round = 0; round < kills; round++) {
        const said = yield* Effect.promise(() => killedWhileRotating(path, current))
        const [old, next] = [yield* opens(path, said), yield* opens(path, said + 1)]
        assert.notStrictEqual(old, next, `round ${round}, after password ${said}`)
        current = old ? said : said + 1
      }
      assert.isAbove(current, 0)
    }).pipe(Effect.provide(Logger.layer([]))), 1_000 * (20 + 5 * kills))
})
