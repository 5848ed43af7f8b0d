import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { textOf } from "../../src/domain/Chat.ts"
import type { Mode } from "../../src/orchestrate/Mode.ts"
import { Simple } from "../../src/orchestrate/modes/Simple.ts"
import { completion, modelCard, usageOf } from "../support/Doubles.ts"
import { runBench } from "../support/RunBench.ts"

/** A mode of one's own: two models answer, the longer answer wins. */
const Longest: Mode = {
  name: "longest",
  description: "Two models answer and the longer answer wins.",
  maxSteps: () => 2,
  run: ({ call, request }) =>
    Effect.gen(function*() {
      const first = yield* call({ step: "first", request, model: undefined, final: false })
      const second = yield* call({ step: "second", request, model: undefined, insteadOf: first, final: false })
      const [longest, other] = [first, second].toSorted((a, b) =>
        textOf(b.completion.content).length - textOf(a.completion.content).length) as [typeof first, typeof first]
      return { answer: longest, degraded: null, details: { beaten: other.model } }
    })
}

describe("Orchestrator", () => {
  it.effect("runs a third mode that is one object, registered by its name in one line", () =>
    Effect.gen(function*() {
      const bench = runBench({
        models: [modelCard("a", { weight: 2 }), modelCard("b", { weight: 1 })],
        script: { a: [completion("short", usageOf(1, 1))], b: [completion("rather longer", usageOf(2, 2))] },
        modes: [Simple, Longest]
      })
      const result = yield* bench.run({ mode: "longest" })
      assert.strictEqual(textOf(result.completion.content), "rather longer")
      assert.deepStrictEqual(result.details, { longest: { beaten: "a" } })
      assert.deepStrictEqual(result.usage, usageOf(3, 3))
      assert.deepStrictEqual(bench.ledger.settled.map((row) => [row.mode, row.model]), [["longest", "b"]])
    }))

  it.effect("names the modes that there are when asked for another", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [], script: {} })
      const error = yield* Effect.flip(bench.run({ mode: "debate" }))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.include(error.message, "simple, adversarial")
    }))

  it.effect("settles a request that found no model, without opening it", () =>
    Effect.gen(function*() {
      const bench = runBench({ models: [], script: {} })
      assert.strictEqual((yield* Effect.flip(bench.run()))._tag, "NoCandidate")
      assert.deepStrictEqual(bench.ledger.opened, [])
      assert.deepStrictEqual(bench.ledger.settled.map((row) => [row.status, row.errorCode]), [[422, "no_candidate"]])
    }))
})
