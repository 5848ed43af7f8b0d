/**
 * A planner drafts, a critic judges, the planner improves, until the critic accepts or the rounds are used up
 * (Madaan et al. 2023, "Self-Refine", with two models).
 */
import { Effect } from "effect"
import { textOf } from "../../domain/Chat.ts"
import type { RequestError } from "../../domain/RequestError.ts"
import type { Mode, ModeContext, ModeOutcome } from "../Mode.ts"
import * as Prompts from "../Prompts.ts"
import type { CallResult } from "../Run.ts"
import type { Round } from "../Schedules.ts"
import * as Schedules from "../Schedules.ts"

/** A fault of the client's, which no draft can stand in for. */
const isClients = (error: RequestError): boolean => error._tag === "ModelNotFound" || error._tag === "InvalidRequest" || error._tag === "Forbidden"

const run = Effect.fnUntraced(function*(context: ModeContext): Effect.fn.Return<ModeOutcome, RequestError> {
  const { call, model, options, present, request, shown } = context
  const planner = options.planner ?? model
  const rounds = options.refinements
  const plan = yield* call({ step: "plan", request, model: planner, final: rounds === 0 })

  const refinements: Array<string> = []
  const critiques: Array<string> = []
  let draft = plan
  let degraded: string | null = null

  // Once the client has seen pieces of a final answer there is no older draft to go back to.
  const fallBack = (step: string) => (error: RequestError): Effect.Effect<undefined, RequestError> =>
    isClients(error) || (step === "refine" && shown())
      ? Effect.fail(error)
      : Effect.sync(() => {
        degraded = error._tag === "BudgetExceeded" ? "budget" : `${step} failed: ${error.message}`
        return undefined
      })

  const criticise = (of: CallResult) =>
    call({
      step: "critique",
      request: Prompts.critique(request, of.completion.content, Prompts.makeFence()),
      model: options.critic,
      insteadOf: of,
      final: false
    }).pipe(
      Effect.map((result) => {
        const critique = textOf(result.completion.content)
        critiques.push(critique)
        return critique
      }),
      Effect.catch(fallBack("critique"))
    )

  const round = Effect.gen(function*(): Effect.fn.Return<Round, RequestError> {
    const critique = yield* criticise(draft)
    if (critique === undefined) return { blocked: false }
    if (Prompts.accepts(critique)) return { blocked: false }
    const refined = yield* call({
      step: "refine",
      request: Prompts.refine(request, draft.completion.content, critique, Prompts.makeFence()),
      model: planner ?? draft.model,
      final: refinements.length + 1 === rounds
    }).pipe(Effect.catch(fallBack("refine")))
    if (refined === undefined) return { blocked: false }
    refinements.push(textOf(refined.completion.content))
    draft = refined
    return { blocked: true }
  })

  if (rounds === 0) yield* criticise(plan)
  else {
    yield* Effect.repeat(round, Schedules.refinement(rounds))
    if (!shown()) yield* present(refinements.length === 0 ? "plan" : "refine", draft)
  }

  return {
    answer: draft,
    degraded,
    details: {
      final_response: textOf(draft.completion.content),
      initial_plan: textOf(plan.completion.content),
      critique: critiques.at(-1) ?? null,
      iterations: 1 + refinements.length,
      refinements,
      critiques
    }
  }
})

export const Adversarial: Mode = {
  name: "adversarial",
  description: "A planner drafts, a critic of another model judges, and the planner improves on it.",
  maxSteps: ({ refinements }) => (refinements === 0 ? 2 : 1 + 2 * refinements),
  run
}
