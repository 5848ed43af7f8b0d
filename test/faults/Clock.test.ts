/** FAULTS.md row 57: the wall clock jumps by an hour, back or forth, while the monotonic one goes on. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as Bench from "../support/Bench.ts"
import * as JumpingClock from "../support/JumpingClock.ts"

const { ask, ok } = Bench

const hour = 3_600_000

describe("a clock that jumps by an hour", { timeout: 30_000 }, () => {
  for (const jump of [hour, -hour]) {
    it.live(`57: no time-out fires, no window counts twice, no lock-out resets (${jump > 0 ? "forward" : "back"})`, () =>
      Effect.gen(function*() {
        const { clock, jump: jumpBy } = yield* JumpingClock.make
        const { fake, hub } = yield* Effect.provideService(Bench.start(), Clock.Clock, clock)
        yield* Effect.promise(async () => {
          const { id, key } = ok(await hub.admin("POST", "/keys", { name: "two a minute", rpm: 2 }))
          const send = { headers: { authorization: `Bearer ${key}` } }
          const free = { headers: { authorization: `Bearer ${ok(await hub.admin("POST", "/keys", { name: "free" })).key}` } }
          ok(await hub.chat(ask(), send))
          ok(await hub.chat(ask(), send))
          const guess = () => hub.request("GET", "/admin/keys", undefined, { headers: { authorization: "Bearer not the password" } })
          for (let i = 0; i < 5; i++) await guess()
          assert.strictEqual((await guess()).status, 429)

          fake.script({}, { text: "abcd".repeat(30), chunkSize: 4, delay: { chunk: 20 } })
          const events = await hub.events(ask({ stream: true }), free)
          for (let event = await events.next(); event?.name !== "step.delta"; event = await events.next()) assert.isDefined(event)
          jumpBy(jump)
          assert.strictEqual((await events.rest()).at(-1)?.name, "run.completed")
          assert.strictEqual((await hub.chat(ask(), send)).status, 429, "the limit's window goes on")
          assert.strictEqual((await guess()).status, 429, "the lock stays")
          const answer = ok(await hub.chat(ask(), free))
          assert.isBelow(answer.attempts[0].duration_ms, 10_000)
          assert.isAtLeast(answer.attempts[0].duration_ms, 0)
          const rows = await Bench.settled(hub)
          assert.lengthOf(rows.filter(({ status }) => status === 200), 4)
          assert.isTrue(rows.every(({ durationMs }) => durationMs === null || (durationMs >= 0 && durationMs < 20_000)))
          assert.isString(id)
        })
      }).pipe(Effect.scoped))
  }
})
