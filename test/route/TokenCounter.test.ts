import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { ChatRequest, Message } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { TokenCounter } from "../../src/route/TokenCounter.ts"
import { promptTokens } from "../../src/route/TokenEstimator.ts"

const say = (role: Message["role"], words: string, name?: string): Message => ({ role, content: [text(words)], ...(name === undefined ? {} : { name }) })

/** The conversation of OpenAI's "How to count tokens with tiktoken": 124 prompt tokens, as its API counts for gpt-4o. */
const cookbook: ChatRequest = {
  messages: [
    say("system", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
    say("system", "New synergies will help drive top-line growth.", "example_user"),
    say("system", "Things working well together will increase revenue.", "example_assistant"),
    say(
      "system",
      "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
      "example_user"
    ),
    say("system", "Let's talk later when we're less busy about how to do better.", "example_assistant"),
    say("user", "This late pivot means we don't have time to boil the ocean for the client deliverable.")
  ]
}

describe("TokenCounter", () => {
  it.live("counts a conversation as OpenAI's API does", () =>
    Effect.gen(function*() {
      const { count } = yield* TokenCounter
      assert.strictEqual(yield* count(cookbook), 124)
    }).pipe(Effect.provide(TokenCounter.layer)))

  it.live("counts many conversations at once, each its own", () =>
    Effect.gen(function*() {
      const { count } = yield* TokenCounter
      const lengths = Array.from({ length: 40 }, (_, at) => at + 1)
      const counts = yield* Effect.forEach(lengths, (length) => count({ messages: [say("user", " word".repeat(length))] }), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(counts, lengths.map((length) => length + 7))
    }).pipe(Effect.provide(TokenCounter.layer)))

  it.live("counts tools and their calls, and takes special tokens for text", () =>
    Effect.gen(function*() {
      const { count } = yield* TokenCounter
      const bare = yield* count({ messages: [say("user", "Hi")] })
      const tools = [{ name: "weather", description: "Tells the weather of a place", parameters: { type: "object" } }]
      assert.isAbove(yield* count({ messages: [say("user", "Hi")], tools }), bare + 10)
      assert.isAbove(yield* count({ messages: [say("user", "Hi <|endoftext|>")] }), bare + 3)
    }).pipe(Effect.provide(TokenCounter.layer)))

  it.effect("gives the estimate where the count takes too long", () =>
    Effect.gen(function*() {
      const { count } = yield* TokenCounter
      const counting = yield* Effect.forkChild(count(cookbook))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(counting), promptTokens(cookbook))
    }).pipe(Effect.provide(TokenCounter.layer)))
})
