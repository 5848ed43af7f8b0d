import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import type { Told } from "../../src/account/Events.ts"
import { Events } from "../../src/account/Events.ts"
import type { RequestRow } from "../../src/account/Ledger.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import { zero } from "../../src/domain/Usage.ts"

const row = (id: string): RequestRow => ({
  id,
  at: 0,
  event: "chat",
  endpoint: "/v1/chat",
  mode: "simple",
  model: "m",
  provider: "p",
  clientKey: null,
  status: 200,
  errorCode: null,
  durationMs: 1,
  reserved: 0n,
  usage: zero,
  cost: 0n
})

/** The feed on a ledger whose settlements the test makes itself. */
const bench = () => {
  const listeners = new Set<(row: RequestRow) => void>()
  const ledger = Layer.mock(Ledger, {
    onSettle: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    pending: () => 0
  })
  return {
    layer: Events.layer.pipe(Layer.provide(ledger)),
    settle: (id: string) => listeners.forEach((listener) => listener(row(id))),
    listeners
  }
}

const idOf = (told: Told): string => (told.type === "request" ? told.row.id : told.type)

describe("the live feed", () => {
  it.effect("gives every watcher what is settled from then on, in order", () => {
    const { layer, settle } = bench()
    return Effect.gen(function*() {
      const events = yield* Events
      settle("before")
      const first = yield* events.watch
      settle("a")
      const second = yield* events.watch
      settle("b")
      assert.deepEqual([idOf(yield* first), idOf(yield* first), idOf(yield* second)], ["a", "b", "b"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("holds a bounded number for a slow watcher, and then tells it how many it missed", () => {
    const { layer, settle } = bench()
    return Effect.gen(function*() {
      const next = yield* (yield* Events).watch
      for (let i = 0; i < 1000; i++) settle(String(i))
      const held: Array<string> = []
      while (held.length < 256) held.push(idOf(yield* next))
      assert.strictEqual(held.at(-1), "255")
      settle("later")
      assert.deepInclude(yield* next, { missed: 1000 - 256 })
      settle("last")
      assert.deepInclude(yield* next, { missed: 0 })
    }).pipe(Effect.provide(layer))
  })

  it.effect("tells alerts between the requests", () => {
    const { layer, settle } = bench()
    return Effect.gen(function*() {
      const events = yield* Events
      const next = yield* events.watch
      settle("a")
      yield* events.alert({ owner: "all", percent: 80, spent: 8n, budget: { amount: 10n, period: "day" }, window: { since: 0, until: 1 } })
      settle("b")
      assert.deepEqual([idOf(yield* next), idOf(yield* next), idOf(yield* next)], ["a", "budget", "b"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("has room for so many watchers, and again when one leaves", () => {
    const { layer } = bench()
    return Effect.gen(function*() {
      const events = yield* Events
      const one = yield* Scope.make()
      yield* Scope.provide(events.watch, one)
      for (let i = 1; i < 64; i++) yield* events.watch
      const refused = yield* Effect.flip(events.watch)
      assert.strictEqual(refused._tag, "Overloaded")
      yield* Scope.close(one, Exit.void)
      yield* events.watch
    }).pipe(Effect.provide(layer))
  })
})
