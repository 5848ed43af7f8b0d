/** A provider type from outside of `src/`: it says what it heard, and knows one key. */
import { Effect, Redacted } from "effect"
import type { Completion } from "../../../src/domain/Chat.ts"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { ProviderError } from "../../../src/domain/ProviderError.ts"
import * as Usages from "../../../src/domain/Usage.ts"
import type { ProviderAdapter, ProviderCall, ProviderType } from "../../../src/provider/ProviderAdapter.ts"

const opens = (key: Redacted.Redacted | undefined) =>
  key !== undefined && Redacted.value(key) === "polly"
    ? Effect.void
    : Effect.fail(new ProviderError({ fault: "authentication", message: "Polly does not know this key", sent: true }))

const answer = ({ request, upstreamModel }: ProviderCall): Completion => ({
  content: [text(`Polly heard: ${textOf(request.messages.at(-1)?.content ?? [])}`)],
  finishReason: "stop",
  upstreamModel,
  usage: { ...Usages.zero, promptTokens: 7, completionTokens: 3 }
})

const adapter: ProviderAdapter = {
  complete: (call) => Effect.as(opens(call.apiKey), answer(call)),
  stream: (call, receive) =>
    Effect.andThen(opens(call.apiKey), () => {
      const completion = answer(call)
      const words = textOf(completion.content).split(/(?<= )/).map((word) => ({ type: "text", text: word }) as const)
      return Effect.forEach([...words, { type: "end", completion } as const], receive, { discard: true })
    }),
  models: (key) => Effect.as(opens(key), ["parrot-1"])
}

export const parrot: ProviderType = {
  name: "parrot",
  defaultBaseUrl: "",
  needsKey: true,
  local: false,
  make: () => Effect.succeed(adapter)
}
