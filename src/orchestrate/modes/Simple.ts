import { Effect } from "effect"
import type { Mode } from "../Mode.ts"

/** One model, one answer. */
export const Simple: Mode = {
  name: "simple",
  description: "One model answers.",
  direct: true,
  maxSteps: () => 1,
  run: ({ call, model, request }) =>
    Effect.map(call({ step: "answer", request, model, final: true }), (answer) => ({ answer, degraded: null }))
}
