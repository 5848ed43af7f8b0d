import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Admission } from "../../src/account/Admission.ts"
import type { Delta, Frame } from "../../src/domain/Chat.ts"
import { textOf } from "../../src/domain/Chat.ts"
import { BudgetExceeded } from "../../src/domain/RequestError.ts"
import type { Lane } from "../../src/orchestrate/Hedging.ts"
import { decide, race } from "../../src/orchestrate/Hedging.ts"
import type { RunRequest } from "../../src/orchestrate/Run.ts"
import { completion, fault, modelCard, usageOf } from "../support/Doubles.ts"
import { runBench } from "../support/RunBench.ts"

type Bench = ReturnType<typeof runBench>

const slow = modelCard("slow", { weight: 20 })
const spare = modelCard("spare", { weight: 10, provider: "q" })
const models = [slow, spare]

const hang = { deltas: [], last: "hang" } as const
const late = (ms: number, answer = "late") => ({ deltas: [], last: completion(answer), lateMs: ms })
const said = (text: string): Delta => ({ type: "text", text })
const frame = (data: string, ...deltas: ReadonlyArray<Delta>): Frame => ({ type: "frame", protocol: "p", data, deltas })

const env = { TOKENHUB_HEDGE_AFTER_MS: "1000" }

/** Runs to the end, whatever virtual time that takes. */
const ends = (bench: Bench, given: Partial<RunRequest> & { readonly stream?: boolean } = {}) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.exit(bench.run(given)))
    yield* TestClock.adjust("20 minutes")
    return yield* Fiber.join(fiber)
  })

const answered = (bench: Bench, given: Partial<RunRequest> & { readonly stream?: boolean } = {}) =>
  Effect.map(ends(bench, given), (exit) => {
    if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
    return exit.value
  })

const asked = ({ calls }: Bench) => calls.map(({ upstreamModel }) => upstreamModel)

const outcomes = ({ ledger }: Bench) => ledger.settledAttempts.toSorted((a, b) => a.index - b.index).map(({ model, outcome }) => [model, outcome])

describe("whether a second call leaves", () => {
  it("is decided by the setting, the deadline, and who chose the model", () => {
    assert.isUndefined(decide({ afterMs: 0, named: false, timeLeftMs: 60_000 }))
    assert.isUndefined(decide({ afterMs: 1000, named: false, timeLeftMs: 1000 }))
    assert.deepStrictEqual(decide({ afterMs: 1000, named: false, timeLeftMs: 1001 }), { afterMs: 1000, ask: "next_model" })
    assert.deepStrictEqual(decide({ afterMs: 1000, named: true, timeLeftMs: 60_000 }), { afterMs: 1000, ask: "same_model" })
  })
})

describe("a call that brings no token for long", () => {
  it.effect("stays alone unless a time was set", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [late(60_000)], spare: [] } })
      assert.strictEqual(textOf((yield* answered(bench)).completion.content), "late")
      assert.deepStrictEqual(asked(bench), ["slow"])
    }))

  it.effect("gets a second one beside it after that time: the router's next choice answers, the first is cancelled, and both are on the ledger", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [hang], spare: [late(500, "quick")] }, env })
      const fiber = yield* Effect.forkChild(bench.run())
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(asked(bench), ["slow"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(asked(bench), ["slow", "spare"])
      yield* TestClock.adjust(500)
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual([result.model, result.provider, textOf(result.completion.content)], ["spare", "q", "quick"])
      assert.deepStrictEqual(outcomes(bench), [["slow", "cancelled"], ["spare", "ok"]])
      // The prompt of the cancelled call may be billed.
      assert.deepStrictEqual(result.usage, { ...usageOf(110, 5), estimated: true })
      assert.deepStrictEqual(result.attempts.map(({ outcome }) => outcome), ["cancelled", "ok"])
      assert.deepStrictEqual(bench.ledger.settled.map(({ cost, model, status }) => [status, model, cost]), [[200, "spare", result.cost]])
      assert.deepStrictEqual(bench.outcomes.map(([model, { fault, ok }]) => [model, ok, fault]).toSorted(), [["slow", false, undefined], ["spare", true, undefined]])
    }))

  it.effect("is itself the answer where it is the first to bring one, and the second is cancelled", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [late(1500)], spare: [hang] }, env })
      const result = yield* answered(bench)
      assert.strictEqual(result.model, "slow")
      assert.deepStrictEqual(outcomes(bench), [["slow", "ok"], ["spare", "cancelled"]])
    }))

  it.effect("is asked again itself where the client named it", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [hang, late(10, "again")], spare: [] }, env })
      assert.strictEqual(textOf((yield* answered(bench, { model: "slow" })).completion.content), "again")
      assert.deepStrictEqual(asked(bench), ["slow", "slow"])
    }))

  it.effect("is asked again itself where the router has no other", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [slow], script: { slow: [hang, completion("again")] }, env })
      assert.strictEqual((yield* answered(bench)).model, "slow")
    }))

  it.effect("that fails leaves the answer to the second, without a retry", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [{ ...late(1500), last: fault("server_error") }], spare: [late(2000, "spare's")] }, env })
      assert.strictEqual((yield* answered(bench)).model, "spare")
      assert.deepStrictEqual(outcomes(bench), [["slow", "server_error"], ["spare", "ok"]])
    }))

  it.effect("that fails before its time is retried as ever", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [{ ...late(900), last: fault("server_error") }, completion("again")], spare: [] }, env })
      assert.strictEqual((yield* answered(bench)).model, "slow")
      assert.deepStrictEqual(asked(bench), ["slow", "slow"])
    }))

  it.effect("goes on where the second fails", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [late(5000)], spare: [fault("server_error")] }, env })
      assert.strictEqual((yield* answered(bench)).model, "slow")
      assert.deepStrictEqual(outcomes(bench), [["slow", "ok"], ["spare", "server_error"]])
    }))

  it.effect("and its second, where both fail, are followed by neither of them again", () =>
    Effect.gen(function*() {
      const third = modelCard("third", { weight: 30 })
      const larger = modelCard("slow", { weight: 20, contextSize: 100_000 })
      const failing = (ms: number) => ({ ...late(ms), last: fault("overloaded") })
      const bench = runBench({ models: [slow, spare], script: { slow: [failing(3000)], spare: [failing(500)] }, env })
      const exit = yield* ends(bench)
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(asked(bench), ["slow", "spare"])
      const more = runBench({ models: [spare, larger, third], script: { third: [failing(3000)], slow: [failing(500)], spare: [] }, env })
      assert.isTrue(Exit.isFailure(yield* ends(more)))
      assert.deepStrictEqual(asked(more), ["third", "slow"])
    }))

  it.effect("stays alone where the retry budget is spent", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [late(5000)], spare: [] }, env: { ...env, TOKENHUB_RETRIES_PER_SECOND: "0" } })
      assert.strictEqual((yield* answered(bench)).model, "slow")
      assert.deepStrictEqual(asked(bench), ["slow"])
    }))

  it.effect("stays alone where a budget can't pay a second one, or max_cost_usd can't pay both", () =>
    Effect.gen(function*() {
      let reserved = 0
      const one = Layer.mock(Admission, {
        rules: () => ({ allows: () => true, priced: false, waitMs: () => 0 }),
        call: () =>
          reserved++ === 0
            ? Effect.succeed({ settle: () => Effect.void, leave: Effect.void })
            : Effect.fail(new BudgetExceeded({ message: "spent" }))
      })
      const poor = runBench({ models, script: { slow: [late(5000)], spare: [] }, env, admission: one })
      assert.strictEqual((yield* answered(poor)).model, "slow")
      assert.deepStrictEqual([asked(poor), reserved], [["slow"], 2])

      // 100 prompt tokens at 1 $ and 1,024 completion tokens at 2 $ per million are 2,148,000 nano-dollars.
      const script = { slow: [late(5000)], spare: [completion("quick")] }
      for (const [maxCost, expected] of [[4_295_000n, ["slow"]], [4_296_000n, ["slow", "spare"]]] as const) {
        const bench = runBench({ models, script, env })
        yield* answered(bench, { maxCost })
        assert.deepStrictEqual(asked(bench), [...expected])
      }
    }))

  it.effect("is cancelled with its second when the client leaves", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [hang], spare: [hang] }, env })
      const fiber = yield* Effect.forkChild(bench.run())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(outcomes(bench), [["slow", "cancelled"], ["spare", "cancelled"]])
      assert.deepStrictEqual(bench.ledger.settled.map(({ status }) => status), [499])
    }))
})

describe("a call that is made again after one that cost nothing", () => {
  it.effect("is paid from the same max_cost_usd", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [slow], script: { slow: [fault("server_error"), completion("again")] } })
      assert.strictEqual((yield* answered(bench, { maxCost: 2_148_000n })).model, "slow")
    }))
})

describe("two calls that bring their first piece in one moment", () => {
  it.effect("are one answer: one of them wins, and the other never does", () =>
    Effect.gen(function*() {
      const lanes: Array<Lane> = []
      const call = (lane: Lane) => Effect.andThen(lane.left, Effect.andThen(Effect.sync(() => void lanes.push(lane)), Effect.never))
      const fiber = yield* Effect.forkChild(race({ afterMs: 1000, first: call, mayLeave: Effect.succeed(true), second: call }))
      yield* TestClock.adjust(1000)
      const [first, second] = lanes
      assert.deepStrictEqual([first?.won(), second?.won()], [false, false])
      assert.deepStrictEqual([second?.win(), first?.win(), second?.win()], [true, false, true])
      assert.deepStrictEqual([first?.won(), second?.won()], [false, true])
      yield* Fiber.interrupt(fiber)
    }))
})

describe("a stream that brings no token for long", () => {
  const content = { hasContent: ({ data }: Frame) => data.startsWith("content") }

  for (const first of [frame("a piece", said("Hi")), frame("content that only the door knows")]) {
    it.effect(`shows nothing of the call that was cancelled, and all of the one that brought ${first.data}`, () =>
      Effect.gen(function*() {
        const bench = runBench({
          models,
          script: {
            slow: [{ deltas: [frame("open slow")], last: "hang" }],
            spare: [{ deltas: [frame("open spare"), first], last: completion("Hi"), lateMs: 100 }]
          },
          env
        })
        assert.strictEqual((yield* answered(bench, { stream: true, ...content })).model, "spare")
        const told = bench.events.map((event) =>
          event.type === "step.frame" ? event.frame.data : event.type === "call.started" ? `call ${event.model}` : event.type)
        assert.deepStrictEqual(told, ["step.started", "call slow", "call spare", "open spare", first.data, "step.completed"])
      }))
  }

  it.effect("shows nothing of the second where the first is the answer after all", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models,
        script: {
          slow: [{ deltas: [frame("open slow")], last: completion("Hi"), lateMs: 2000 }],
          spare: [{ deltas: [frame("open spare")], last: "hang" }]
        },
        env
      })
      assert.strictEqual((yield* answered(bench, { stream: true, ...content })).model, "slow")
      assert.deepStrictEqual(bench.events.flatMap((event) => (event.type === "step.frame" ? [event.frame.data] : [])), ["open slow"])
      assert.deepStrictEqual(outcomes(bench), [["slow", "ok"], ["spare", "cancelled"]])
    }))

  it.effect("stays alone once it has brought one, however slow it then is", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [{ deltas: [said("Hi")], last: completion("Hi"), lateMs: 60_000 }], spare: [] }, env })
      assert.strictEqual((yield* answered(bench, { stream: true })).model, "slow")
      assert.deepStrictEqual(asked(bench), ["slow"])
    }))

  it.effect("that breaks off after the second's first piece is told of as the second's, and nobody else is asked", () =>
    Effect.gen(function*() {
      const bench = runBench({ models, script: { slow: [hang], spare: [{ deltas: [said("H")], last: fault("stream_interrupted"), lateMs: 10 }] }, env })
      const exit = yield* ends(bench, { stream: true })
      const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
      assert.deepInclude(error?._tag === "Some" ? { ...error.value } : {}, { fault: "stream_interrupted", model: "spare" })
      assert.deepStrictEqual(asked(bench), ["slow", "spare"])
    }))
})
