import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import * as Harness from "../support/Harness.ts"

const script = fileURLToPath(new URL("../../scripts/smoke.ts", import.meta.url))

const run = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  Effect.promise(() =>
    new Promise<{ readonly code: unknown; readonly said: string }>((resolve) => {
      execFile(process.execPath, [script, ...args], { env }, (error, out, errors) => resolve({ code: error === null ? 0 : error.code, said: out + errors }))
    })
  )

describe("`npm run smoke`", { timeout: 30_000 }, () => {
  it.live("passes on an instance that wants a client key, and looks at the admin routes where it has the password", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_CLIENT_AUTH: "required" } })
      const { key } = (yield* Effect.promise(() => hub.admin("POST", "/keys", { name: "smoke" }))).json
      const asClient = yield* run([hub.url], { TOKENHUB_CLIENT_KEY: key })
      assert.strictEqual(asClient.code, 0, asClient.said)
      assert.match(asClient.said, /^9 passed, 0 failed$/m)
      const asAdmin = yield* run([hub.url], { TOKENHUB_CLIENT_KEY: key, TOKENHUB_ADMIN_PASSWORD: Harness.adminPassword })
      assert.match(asAdmin.said, /^14 passed, 0 failed$/m)
      for (const { said } of [asClient, asAdmin]) assert.isFalse(said.includes(key) || said.includes(Harness.adminPassword))
    }).pipe(Effect.scoped))

  it.live("fails, and says with what, on an instance that does not do what it should", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_CLIENT_AUTH: "required" } })
      const { code, said } = yield* run([hub.url])
      assert.strictEqual(code, 1)
      assert.match(said, /^ok {3}GET \/health says healthy$/m)
      assert.match(said, /^FAIL POST \/v1\/chat answers, with tokens and cost: 401 .*missing_credential/m)
      assert.match(said, /^[1-9]\d* passed, [1-9]\d* failed$/m)
    }).pipe(Effect.scoped))

  it.live("fails throughout on what is no TokenHub, or nothing", () =>
    Effect.gen(function*() {
      const other = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createServer>>((resume) => {
          const server = createServer((_, response) => void response.end("hello")).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
      const { code, said } = yield* run([url])
      assert.strictEqual(code, 1)
      assert.match(said, /^1 passed, 8 failed$/m, "that /health/ready is 200 is all that holds")
      assert.strictEqual((yield* run(["nowhere"])).code, 2)
    }).pipe(Effect.scoped))
})
