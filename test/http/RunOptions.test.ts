import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { Given } from "../../src/http/RunOptions.ts"
import { read, virtualModels } from "../../src/http/RunOptions.ts"

const modes = ["simple", "adversarial"]

const options = (given: Partial<Given>) =>
  read({ headers: {}, model: undefined, tokenhub: undefined, modes, refinements: 1, ...given })

const asked = (given: Partial<Given>) => Result.getOrThrow(options(given))

const paramOf = (given: Partial<Given>) => {
  const result = options(given)
  assert.isTrue(Result.isFailure(result))
  return Result.isFailure(result) ? result.failure.param : undefined
}

describe("options of a run", () => {
  it("leave everything to the router where nothing is said", () => {
    assert.deepStrictEqual(asked({}), {
      model: undefined,
      mode: "simple",
      options: { refinements: 1 },
      policy: { maxRate: null, minContextSize: 0, preferHigherWeight: true, allowEscalation: true },
      events: false,
      dropUnsupported: false,
      params: { planner: "planner", critic: "critic" }
    })
  })

  it("know the virtual models of every mode", () => {
    assert.deepStrictEqual(virtualModels(modes), ["tokenhub/auto", "tokenhub/simple", "tokenhub/adversarial"])
    assert.strictEqual(asked({ model: "tokenhub/auto" }).model, undefined)
    const { mode, model, options: { critic, planner, refinements } } = asked({
      model: "tokenhub/adversarial?planner=openai%2Fgpt-4o&critic=b&refinements=2"
    })
    assert.deepStrictEqual([model, mode, planner, critic, refinements], [undefined, "adversarial", "openai/gpt-4o", "b", 2])
  })

  it("leave a role's model to the router where it is called auto", () => {
    assert.deepStrictEqual(asked({ tokenhub: { planner: "auto", critic: "b" } }).options, { critic: "b", refinements: 1 })
    assert.deepStrictEqual(asked({ own: { planner: "a" }, tokenhub: { planner: "auto" } }).options, { refinements: 1 })
  })

  it("take any other name for a model's", () => {
    for (const model of ["gpt-4o", "tokenhub/unheard-of", "gpt-4o?refinements=2"]) assert.strictEqual(asked({ model }).model, model)
  })

  it("come from headers, then the model's name, then the tokenhub object, the last of which wins field by field", () => {
    const result = asked({
      headers: {
        "x-tokenhub-mode": "adversarial",
        "x-tokenhub-planner": "header",
        "x-tokenhub-critic": "header",
        "x-tokenhub-refinements": "3",
        "x-tokenhub-max-cost": "0.01",
        "x-tokenhub-min-context": "8000",
        "x-tokenhub-prefer-higher-weight": "false",
        "x-tokenhub-allow-escalation": "false",
        "authorization": "Bearer x"
      },
      model: "tokenhub/auto?critic=name&refinements=4",
      tokenhub: { refinements: 5, policy: { min_context_size: 9000 }, max_cost_usd: 0.25, deadline_ms: 7, events: true, drop_unsupported: true }
    })
    assert.deepStrictEqual(result, {
      model: undefined,
      mode: "adversarial",
      options: { planner: "header", critic: "name", refinements: 5 },
      policy: { maxRate: 10_000_000_000n, minContextSize: 9000, preferHigherWeight: false, allowEscalation: false },
      deadlineMs: 7,
      maxCost: 250_000_000n,
      events: true,
      dropUnsupported: true,
      params: { planner: "x-tokenhub-planner", critic: "model" }
    })
  })

  it("that do not exist or do not fit are refused under the name that the client gave them", () => {
    const cases: ReadonlyArray<readonly [Partial<Given>, string]> = [
      [{ headers: { "x-tokenhub-max-costs": "1" } }, "x-tokenhub-max-costs"],
      [{ headers: { "x-tokenhub-refinements": "many" } }, "x-tokenhub-refinements"],
      [{ headers: { "x-tokenhub-max-cost": "-1" } }, "x-tokenhub-max-cost"],
      [{ headers: { "x-tokenhub-events": "yes" } }, "x-tokenhub-events"],
      [{ headers: { "x-tokenhub-mode": "nonesuch" } }, "x-tokenhub-mode"],
      [{ model: "tokenhub/adversarial?refinements=11" }, "model"],
      [{ model: "tokenhub/adversarial?rounds=2" }, "model"],
      [{ tokenhub: { refinement: 1 } }, "tokenhub.refinement"],
      [{ tokenhub: { policy: { max_cost: 1 } } }, "tokenhub.policy.max_cost"],
      [{ tokenhub: { policy: { min_context_size: "8000" } } }, "tokenhub.policy.min_context_size"],
      [{ tokenhub: { mode: "nonesuch" } }, "tokenhub.mode"],
      [{ tokenhub: "simple" }, "tokenhub"]
    ]
    for (const [given, param] of cases) assert.strictEqual(paramOf(given), param)
  })

  it("say what was wanted in the client's words", () => {
    const messageOf = (tokenhub: unknown) => {
      const result = options({ tokenhub })
      return Result.isFailure(result) ? result.failure.message : undefined
    }
    assert.strictEqual(messageOf("simple"), "tokenhub: must be an object")
    assert.strictEqual(messageOf({ policy: [] }), "tokenhub.policy: must be an object or null")
    assert.strictEqual(messageOf({ events: "yes" }), "tokenhub.events: must be true or false or null")
    assert.strictEqual(messageOf({ refinements: 11 }), "tokenhub.refinements: must be a value between 0 and 10")
  })
})
