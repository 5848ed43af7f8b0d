import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { connect } from "node:net"
import { DatabaseSync } from "node:sqlite"
import { join } from "node:path"
import { inStage, waitingFor } from "../../src/domain/Stages.ts"
import { Drain } from "../../src/http/Drain.ts"
import { Settings } from "../../src/Settings.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Child } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

const ask = { model: "m", stream: true, messages: [{ role: "user", content: "Hello" }] }

/** A TokenHub process with one model at the fake provider, whose stream is under way. */
const streaming = (text: string, chunkMs: number, env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const folder = yield* Harness.folder
    const fake = yield* Fake.scoped()
    const child = yield* Harness.spawnChild({ folder, env: { TOKENHUB_MOCK: "false", ...env } })
    const events = yield* Effect.promise(async () => {
      await child.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai") })
      await child.admin("POST", "/models", { name: "m", provider: "p", context_size: 100_000, weight: 1, cost_per_1k_tokens: 0.01 })
      fake.script({}, { text, chunkSize: 4, delay: { chunk: chunkMs } })
      const events = await child.events(ask)
      for (let event = await events.next(); event?.name !== "step.delta"; event = await events.next()) assert.isDefined(event)
      return events
    })
    return { child, events, fake, folder }
  })

const asked = (child: Child, signal: NodeJS.Signals) => {
  const at = performance.now()
  child.signal(signal)
  return child.ended.then((ended) => ({ ...ended, afterMs: performance.now() - at }))
}

/** The status of every request in the ledger of a TokenHub that has ended. */
const statuses = (folder: string): ReadonlyArray<unknown> => {
  const db = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
  const rows = db.prepare("SELECT status FROM requests WHERE event = 'chat'").all()
  db.close()
  return rows.map(({ status }) => status)
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const test = (name: string, run: () => Effect.Effect<void, never, Scope.Scope>) =>
  it.live(name, () => Effect.scoped(Effect.suspend(run)))

describe("a TokenHub that is told to stop", { timeout: 30_000 }, () => {
  test("is not ready, takes no new work, and lets the stream end", () =>
    Effect.gen(function*() {
      const { child, events, folder } = yield* streaming("abcd".repeat(25), 40)
      yield* Effect.promise(async () => {
        const end = asked(child, "SIGTERM")
        let ready = await child.get("/health/ready")
        while (ready.status === 200) ready = await child.get("/health/ready")
        assert.strictEqual(ready.status, 503)
        assert.deepStrictEqual(ready.json.reasons, ["draining"])
        assert.strictEqual((await child.get("/health/live")).status, 200)
        const refused = await child.chat({ ...ask, stream: false })
        assert.strictEqual(refused.status, 503)
        assert.isNotNull(refused.headers.get("retry-after"))
        assert.strictEqual((await events.rest()).at(-1)?.name, "run.completed")
        const { code, afterMs } = await end
        assert.strictEqual(code, 0)
        assert.isBelow(afterMs, 8000)
      })
      assert.deepStrictEqual(statuses(folder), [200])
    }))

  test("cuts a stream that is still there when the time is up, with an error event", () =>
    Effect.gen(function*() {
      const { child, events, fake } = yield* streaming("abcd".repeat(5000), 20, { TOKENHUB_DRAIN_TIMEOUT_MS: "400" })
      yield* Effect.promise(async () => {
        const end = asked(child, "SIGTERM")
        const last = (await events.rest()).at(-1)
        assert.strictEqual(last?.name, "run.failed")
        assert.strictEqual(last?.data.error.type, "overloaded_error")
        const { code, afterMs } = await end
        assert.strictEqual(code, 0)
        assert.isBelow(afterMs, 3400)
        assert.isTrue(fake.calls.every(({ state }) => state !== "open"))
      })
    }))

  test("settles and ends within two seconds of a second signal", () =>
    Effect.gen(function*() {
      const { child, events, folder } = yield* streaming("abcd".repeat(5000), 20)
      yield* Effect.promise(async () => {
        const end = asked(child, "SIGTERM")
        await pause(1200)
        const second = performance.now()
        child.signal("SIGTERM")
        assert.strictEqual((await events.rest()).at(-1)?.name, "run.failed")
        assert.strictEqual((await end).code, 0)
        assert.isBelow(performance.now() - second, 2000)
      })
      assert.isFalse(statuses(folder).includes(null), "every request is settled")
    }))

  test("ends within two seconds of a second signal also while another program locks the database", () =>
    Effect.gen(function*() {
      const { child, folder } = yield* streaming("abcd".repeat(5000), 20)
      yield* Effect.promise(async () => {
        const other = new DatabaseSync(join(folder, "tokenhub.db"))
        const end = asked(child, "SIGTERM")
        other.exec("BEGIN IMMEDIATE")
        await pause(1200)
        const second = performance.now()
        child.signal("SIGTERM")
        assert.strictEqual((await end).code, 0)
        assert.isBelow(performance.now() - second, 2000)
        other.close()
      })
      assert.deepStrictEqual(statuses(folder), [], "its call is an open one, for the next start to settle")
    }))

  test("takes a second signal within a second of the first for the first", () =>
    Effect.gen(function*() {
      const { child, events } = yield* streaming("abcd".repeat(25), 40)
      yield* Effect.promise(async () => {
        const end = asked(child, "SIGTERM")
        await pause(300)
        child.signal("SIGINT")
        assert.strictEqual((await events.rest()).at(-1)?.name, "run.completed")
        assert.strictEqual((await end).code, 0)
      })
    }))

  test("ends at once when nothing runs, also with idle connections open", () =>
    Effect.gen(function*() {
      const child = yield* Harness.spawnChild()
      yield* Effect.promise(async () => {
        assert.strictEqual((await child.get("/health")).status, 200)
        const idle = connect(child.port, "127.0.0.1")
        idle.on("error", () => {})
        await new Promise((resolve) => idle.once("connect", resolve))
        const { code, afterMs } = await asked(child, "SIGINT")
        idle.destroy()
        assert.strictEqual(code, 0)
        assert.isBelow(afterMs, 2500)
      })
    }))
})

describe("requests without a stream that outlast the drain", { timeout: 20_000 }, () => {
  test("are answered 503, and a feed without an end ends", () =>
    Effect.gen(function*() {
      const fake = yield* Fake.scoped()
      const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_DRAIN_TIMEOUT_MS: "200" } })
      yield* Effect.promise(async () => {
        await hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai") })
        await hub.admin("POST", "/models", { name: "m", provider: "p", context_size: 100_000, weight: 1 })
        fake.script({}, { text: "late", delay: { headers: 60_000 } })
        const arrived = fake.next({})
        const late = hub.chat({ ...ask, stream: false })
        const feed = hub.admin("GET", "/events")
        await arrived
        const began = performance.now()
        await Effect.runPromise(hub.stop)
        assert.isBelow(performance.now() - began, 3000)
        const answer = await late
        assert.strictEqual(answer.status, 503, answer.text)
        assert.strictEqual(answer.json.error.code, "overloaded")
        assert.strictEqual((await feed).status, 200)
      })
    }))
})

describe("a TokenHub that can't start", { timeout: 30_000 }, () => {
  const failing = (env: Readonly<Record<string, string>>) =>
    Effect.gen(function*() {
      const child = yield* Harness.spawnChild({ env })
      const { code } = yield* Effect.promise(() => child.ended)
      return { code, lines: child.errors().trim().split("\n") }
    })

  test("says why in one line, and its exit code is 1", () =>
    Effect.gen(function*() {
      const running = yield* Harness.start()
      const port = String(running.port)
      const failures = yield* Effect.all(
        [failing({ TOKENHUB_MAX_BODY_BYTES: "lots" }), failing({ TOKENHUB_PORT: port }), failing({ TOKENHUB_DB_PATH: "/dev/null/x/tokenhub.db" })],
        { concurrency: "unbounded" }
      )
      for (const [i, named] of ["TOKENHUB_MAX_BODY_BYTES", port, "/dev/null/x"].entries()) {
        assert.strictEqual(failures[i]?.code, 1)
        assert.strictEqual(failures[i]?.lines.length, 1)
        assert.include(failures[i]?.lines[0], named)
      }
    }))
})

describe("requests that were let in before the end and wait for their turn", () => {
  test("are waited for", () =>
    Effect.gen(function*() {
      const drain = yield* Drain
      let begun = 0
      for (let i = 0; i < 40; i++) {
        inStage("requests", () => {
          begun++
          drain.enter()
          setImmediate(drain.leave)
        })
      }
      yield* drain.close
      assert.strictEqual(begun, 40)
      assert.strictEqual(drain.inFlight(), 0)
    }).pipe(Effect.provide(Layer.provide(Drain.layer, Layer.orDie(Settings.layerTest())))))
})

describe("what a TokenHub has let in when it is told to stop", { timeout: 20_000 }, () => {
  test("is served", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      yield* Effect.promise(async () => {
        const clients = await Harness.connections(hub.port, 20)
        // Ten turns of tasks that take their time; what is written now comes after the first of them.
        let begun = 0
        for (let i = 0; i < 160; i++) {
          inStage("requests", () => {
            begun++
            Harness.spin(1)
          })
        }
        const answers = clients.map((client) => {
          client.write("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
          return new Promise<string>((resolve) => client.once("data", (chunk: Buffer) => resolve(chunk.toString().slice(0, 12))))
        })
        for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve))
        assert.strictEqual(waitingFor("requests") + begun, 180, "all requests have come")
        await Promise.all([Effect.runPromise(hub.stop), ...answers.map(async (answer) => assert.strictEqual(await answer, "HTTP/1.1 200"))])
      })
    }))
})

describe("what is told when it must end", () => {
  test("is who has not left, once each, also where one leaves as another is told", () =>
    Effect.gen(function*() {
      const drain = yield* Drain
      const told: Array<number> = []
      /** Made to leave by the first that is told. */
      let other: number | undefined
      const leave = Array.from({ length: 100 }, (_, i) =>
        drain.onCut(() => {
          told.push(i)
          leave[i]?.()
          if (other === undefined) leave[other = i === 8 ? 7 : 8]?.()
        }))
      // In an order that is neither theirs nor its reverse, the last ones and some twice.
      for (let i = 0; i < 100; i++) if (i * 37 % 100 >= 20) leave[i * 37 % 100]?.()
      for (let i = 90; i < 100; i++) leave[i]?.()
      yield* drain.close
      assert.sameMembers(told, Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== other))
      drain.onCut(() => told.push(100))
      assert.strictEqual(told.at(-1), 100)
    }).pipe(Effect.provide(Layer.provide(Drain.layer, Layer.orDie(Settings.layerTest())))))
})
