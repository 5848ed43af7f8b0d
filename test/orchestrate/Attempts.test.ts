import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { Delta, Frame } from "../../src/domain/Chat.ts"
import { defaultPolicy } from "../../src/domain/Policy.ts"
import { StoreUnavailable } from "../../src/domain/RequestError.ts"
import { RetryBudget } from "../../src/orchestrate/RetryBudget.ts"
import { completion, fault, modelCard, usageOf } from "../support/Doubles.ts"
import { runBench } from "../support/RunBench.ts"

const small = modelCard("small", { weight: 10, contextSize: 1000 })
const large = modelCard("large", { weight: 20, contextSize: 100_000, provider: "q" })
const asked = (calls: ReadonlyArray<{ readonly upstreamModel: string }>) => calls.map((call) => call.upstreamModel)

/** Runs to the end, whatever virtual time that takes. */
const settle = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.exit(effect))
    yield* TestClock.adjust("5 minutes")
    return yield* Fiber.join(fiber)
  })

const succeeded = <A, E>(exit: Exit.Exit<A, E>): A => {
  if (Exit.isFailure(exit)) throw new Error(`failed: ${String(exit.cause)}`)
  return exit.value
}

const failed = <A, E>(exit: Exit.Exit<A, E>): E => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") throw new Error("did not fail")
  return error.value
}

describe("Attempts", () => {
  it.effect("asks the router's model, under its upstream name", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [modelCard("nice", { upstreamName: "vendor-7b" })], script: { "vendor-7b": [completion("4")] } })
      const result = yield* bench.run()
      assert.deepStrictEqual(asked(bench.calls), ["vendor-7b"])
      assert.strictEqual(result.model, "nice")
      assert.deepStrictEqual(result.usage, usageOf(10, 5))
      // 10 prompt tokens at 1 $ and 5 completion tokens at 2 $ per million.
      assert.strictEqual(result.cost, 20_000n)
    }))

  it.effect("sends an explicit model to that model's own provider, however high others rank", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small, large], script: { small: [completion("4")] } })
      const result = yield* bench.run({ model: "small" })
      assert.deepStrictEqual([result.model, result.provider], ["small", "p"])
    }))

  it.effect("retries, then escalates, and sums the usage of every call", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models: [large, small],
        script: { small: [fault("server_error"), fault("server_error")], large: [completion("4", usageOf(7, 1))] }
      })
      const result = succeeded(yield* settle(bench.run({ model: "small" })))
      assert.deepStrictEqual(asked(bench.calls), ["small", "small", "large"])
      assert.deepStrictEqual(result.attempts.map(({ index, model, outcome }) => [index, model, outcome]), [
        [0, "small", "server_error"],
        [1, "small", "server_error"],
        [2, "large", "ok"]
      ])
      assert.deepStrictEqual(result.usage, usageOf(7, 1))
      assert.strictEqual(result.model, "large")
    }))

  it.effect("books the estimate of a failed call that may have been billed", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small, large], script: { large: [fault("malformed_response")], small: [] } })
      const error = failed(yield* settle(bench.run()))
      assert.strictEqual(error._tag === "UpstreamFailed" && error.fault, "malformed_response")
      assert.deepStrictEqual(bench.ledger.settled.map((row) => [row.status, row.usage.promptTokens, row.usage.estimated]), [[502, 100, true]])
      assert.strictEqual(bench.ledger.settled[0]!.cost, 100_000n)
    }))

  it.effect("escalates an overflow only to a larger context window", () =>
    Effect.gen(function*() {
      const heavy = modelCard("heavy", { weight: 500, contextSize: 1000 })
      const bench = runBench({
        models: [small, heavy, large],
        script: { small: [fault("context_overflow")], large: [completion("4")] }
      })
      const result = succeeded(yield* settle(bench.run({ model: "small" })))
      assert.strictEqual(result.model, "large")
      assert.deepStrictEqual(asked(bench.calls), ["small", "large"])
    }))

  it.effect("does not call an explicit model that the estimate does not fit: it escalates, or says so", () =>
    Effect.gen(function*() {
      const tiny = modelCard("tiny", { weight: 5, contextSize: 50 })
      const bench = runBench({ models: [tiny, large], script: { large: [completion("4")] } })
      assert.strictEqual(succeeded(yield* settle(bench.run({ model: "tiny" }))).model, "large")

      const strict = runBench({ models: [tiny, large], script: {} })
      const error = failed(yield* settle(strict.run({ model: "tiny", policy: { ...defaultPolicy, allowEscalation: false } })))
      assert.strictEqual(error._tag, "ContextLengthExceeded")
      assert.deepStrictEqual(strict.calls, [])
      assert.deepStrictEqual(strict.ledger.settled.map((row) => [row.status, row.errorCode]), [[400, "context_length_exceeded"]])
    }))

  it.effect("says when to come back if everyone was rate-limited", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models: [small, large],
        script: { large: [fault("rate_limited")], small: [fault("rate_limited"), fault("rate_limited"), fault("rate_limited")] }
      })
      const error = failed(yield* settle(bench.run({ model: "small" })))
      assert.strictEqual(error._tag === "AllCoolingDown" && error.rateLimited, true)
    }))

  it.effect("tells the earliest time of several", () =>
    Effect.gen(function*() {
      const later = (retryAfterMs: number) => fault("rate_limited", { retryAfterMs })
      const bench = runBench({ models: [small, large], script: { small: [later(30_000)], large: [later(20_000)] } })
      const error = failed(yield* settle(bench.run({ model: "small", deadlineMs: 10_000 })))
      assert.strictEqual(error._tag === "AllCoolingDown" && error.retryAfterMs, 20_000)
      const other = runBench({ models: [small, large], script: { small: [later(20_000)], large: [later(30_000)] } })
      const again = failed(yield* settle(other.run({ model: "small", deadlineMs: 10_000 })))
      assert.strictEqual(again._tag === "AllCoolingDown" && again.retryAfterMs, 20_000)
    }))

  it.effect("counts each step's first call for the retry budget, and asks it before every call that follows", () =>
    Effect.gen(function*() {
      const counts = { first: 0, spent: 0 }
      const retryBudget = Layer.succeed(RetryBudget, RetryBudget.of({
        first: () => void counts.first++,
        spend: Effect.sync(() => ++counts.spent < 3)
      }))
      const script = { small: [fault("server_error"), fault("server_error")], large: [completion("4"), completion("5")] }
      const bench = runBench({ models: [small, large], script, retryBudget })
      yield* settle(bench.run({ model: "small" }))
      assert.deepStrictEqual(counts, { first: 1, spent: 2 })
      yield* settle(bench.run({ model: "large" }))
      assert.deepStrictEqual(counts, { first: 2, spent: 2 })
    }))

  it.effect("tells the router what the provider counted, but no estimate", () =>
    Effect.gen(function*() {
      const guessed = completion("5", { ...usageOf(90, 5), estimated: true })
      const bench = runBench({ models: [small], script: { small: [completion("4", usageOf(80, 5)), guessed] } })
      yield* bench.run()
      yield* bench.run()
      assert.deepStrictEqual(bench.learned, [["small", 100, 80]])
    }))

  it.effect("opens the request with the most that all of its steps can cost", () =>
    Effect.gen(function*() {
      const reservedBy = (mode: string, refinements: number) =>
        Effect.gen(function*() {
          const bench = runBench({ models: [small, large], script: { large: [fault("invalid_request")], small: [] } })
          yield* settle(bench.run({ mode, options: { refinements } }))
          return bench.ledger.opened[0]?.reserved ?? 0n
        })
      const one = yield* reservedBy("simple", 0)
      assert.isTrue(one > 0n)
      assert.deepStrictEqual([yield* reservedBy("adversarial", 0), yield* reservedBy("adversarial", 2)], [2n * one, 5n * one])
    }))

  it.effect("tells the health board what each call means for its model", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small, large], script: { small: [fault("quota_exhausted")], large: [completion("4")] } })
      yield* settle(bench.run({ model: "small" }))
      const [[, bad], [, good]] = bench.outcomes as [(typeof bench.outcomes)[0], (typeof bench.outcomes)[0]]
      assert.strictEqual(bad.fault, "quota_exhausted")
      assert.isTrue(bad.coolDownMs >= 300_000 && !bad.breaks)
      assert.isTrue(good.ok)
    }))

  it.effect("opens the request and each call on the ledger before the call leaves", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small], script: { small: [completion("4")] } })
      yield* bench.run()
      const [opened] = bench.ledger.opened
      assert.isTrue(opened!.reserved > 0n && opened!.status === null)
      assert.deepStrictEqual(bench.ledger.openedAttempts.map((attempt) => attempt.outcome), ["unknown"])
      assert.deepStrictEqual(bench.ledger.settledAttempts.map((attempt) => attempt.outcome), ["ok"])
      assert.deepStrictEqual(bench.ledger.settled.map((row) => [row.status, row.cost]), [[200, 20_000n]])
    }))

  it.effect("goes on with another model while a stream has brought no content yet", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models: [small, large],
        script: { small: [fault("stream_error")], large: [{ deltas: [{ type: "text", text: "4" }], last: completion("4") }] }
      })
      const result = succeeded(yield* settle(bench.run({ model: "small", stream: true })))
      assert.strictEqual(result.model, "large")
      assert.deepStrictEqual(bench.events.map((event) => event.type), ["step.started", "call.started", "call.started", "step.delta", "step.completed"])
    }))

  const said: Delta = { type: "text", text: "four, and" }
  const frame = (...deltas: ReadonlyArray<Delta>): Frame => ({ type: "frame", protocol: "p", data: "{}", deltas })

  for (const [name, piece] of [["a delta", said], ["a frame of the provider's own", frame(said)]] as const) {
    it.effect(`neither retries nor escalates a stream that broke after its first content, ${name}, and books what came`, () =>
      Effect.gen(function*() {
        const bench = runBench({ models: [small, large], script: { small: [{ deltas: [piece], last: fault("stream_interrupted") }] } })
        const error = failed(yield* settle(bench.run({ model: "small", stream: true })))
        assert.strictEqual(error._tag === "UpstreamFailed" && error.fault, "stream_interrupted")
        assert.deepStrictEqual(asked(bench.calls), ["small"])
        assert.deepStrictEqual(bench.ledger.settled.map(({ usage }) => [usage.promptTokens, usage.completionTokens, usage.estimated]), [[100, 3, true]])
      }))
  }

  it.effect("notes when the first token came, and of a stream without any that none did", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models: [small],
        script: { small: [said, frame(said), frame()].map((piece) => ({ deltas: [piece], last: completion("4"), lateMs: 1000 })) }
      })
      for (let call = 0; call < 3; call++) yield* settle(bench.run({ model: "small", stream: true }))
      assert.deepStrictEqual(bench.ledger.settledAttempts.map(({ durationMs, timeToFirstTokenMs }) => [timeToFirstTokenMs, durationMs]), [
        [0, 1000],
        [0, 1000],
        [undefined, 1000]
      ])
    }))

  it.effect("settles a run whose client left as 499, with its partial usage", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small], script: { small: [{ deltas: [{ type: "text", text: "four" }], last: "hang" }] } })
      const fiber = yield* Effect.forkChild(bench.run({ stream: true }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(bench.ledger.settled.map((row) => [row.status, row.usage.completionTokens]), [[499, 1]])
      assert.deepStrictEqual(bench.ledger.settledAttempts.map((attempt) => attempt.outcome), ["cancelled"])
      assert.deepStrictEqual(bench.outcomes.map(([, outcome]) => [outcome.ok, outcome.fault]), [[false, undefined]])
    }))

  it.effect("settles a run whose client left while it did not read", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small], script: { small: [completion("4")] } })
      const fiber = yield* Effect.forkChild(bench.run({ stream: true, reading: ({ type }) => (type === "call.started" ? Effect.never : Effect.void) }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(bench.calls, [])
      assert.deepStrictEqual(bench.ledger.settledAttempts.map(({ outcome }) => outcome), ["cancelled"])
      assert.deepStrictEqual(bench.ledger.settled.map(({ status }) => status), [499])
    }))

  it.effect("tells the health board of a call that could not leave, since it may have been a probe", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small], script: { small: [completion("4")] } })
      bench.ledger.faults.push(new StoreUnavailable({ message: "The disk is full" }))
      assert.strictEqual(failed(yield* settle(bench.run()))._tag, "StoreUnavailable")
      assert.deepStrictEqual(bench.outcomes, [["small", { ok: false, breaks: false, coolDownMs: 0, durationMs: 0 }]])
    }))

  it.live("cancels the call and fails when the run's deadline passes", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [small], script: { small: [{ deltas: [], last: "hang" }] } })
      const error = failed(yield* Effect.exit(bench.run({ deadlineMs: 50 })))
      assert.strictEqual(error._tag, "DeadlineExceeded")
      assert.deepStrictEqual(bench.ledger.settled.map((row) => row.status), [504])
      assert.isAtLeast(bench.ledger.settled[0]?.durationMs ?? 0, 49)
    }))
})
