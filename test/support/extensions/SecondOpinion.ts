/** The README's example of an orchestration mode, word for word. */
import { Effect } from "effect"
import type { Mode } from "../../../src/orchestrate/Mode.ts"

export const SecondOpinion: Mode = {
  name: "second-opinion",
  description: "Two models answer; the second has seen the first.",
  maxSteps: () => 2,
  run: ({ call, request }) =>
    Effect.gen(function*() {
      const first = yield* call({ step: "first", request, model: undefined, final: false })
      const opinion = { ...request, messages: [...request.messages, { role: "assistant" as const, content: first.completion.content }] }
      const answer = yield* call({ step: "second", request: opinion, model: undefined, insteadOf: first, final: true })
      return { answer, degraded: null }
    })
}
