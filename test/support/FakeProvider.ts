/**
 * An HTTP server that speaks the wire formats of OpenAI, Azure OpenAI, Anthropic and Gemini, bills what it generates,
 * and fails in every way that FAULTS.md lists for an upstream. It is made of node's own modules, so that it shares
 * nothing with the product under test.
 *
 * In a test:
 *
 *     const fake = await startFakeProvider()
 *     fake.script("gpt-4o", { fault: "429?retry_after=1" }, { text: "Hello", usage: { prompt: 20, completion: 200 } })
 *     fake.script({ vendor: "anthropic" }, { fault: "stall?after=3" }, { error: "overloaded", always: true })
 *     … requests to fake.url("openai") …
 *     fake.calls, fake.bill
 *
 * Without a script the answer is made from the request: it says what the last user message said; it calls a tool where
 * the message says `use tool NAME {json}` (several times: in parallel) or the request forces one; it is JSON where
 * JSON is asked for; it ends at `stop` and at the output limit. A token is four bytes of UTF-8. A call is billed when
 * its answer's generation begins, before any delay; refused calls are not. A vendor's own rules are kept, such as
 * `max_completion_tokens` for OpenAI's reasoning models, or no system role among Anthropic's messages. A key that
 * contains `invalid` is refused.
 *
 * Over HTTP the model's name asks for a behaviour:
 *
 * - `fault-NAME` is a row of the table in `fake-provider/Faults.ts`: `fault-500`, `fault-429?retry_after=1`,
 *   `fault-502?body=html`, `fault-stall?after=3`, `fault-huge?size=1000000`, …
 * - `slow-200ms` answers after 200 ms
 * - any name takes `?delay_ms=`, `first_token_ms=`, `chunk_ms=` (waits), `context=` (tokens of prompt that fit) and
 *   `times=` (only the first so many calls of that name fail): `fault-503?times=2`, `gpt-4o?chunk_ms=20`
 */
import type { Scope } from "effect"
import { Effect } from "effect"
import type { FakeProvider, FakeProviderOptions } from "./fake-provider/Server.ts"
import { startFakeProvider } from "./fake-provider/Server.ts"

export { startFakeProvider } from "./fake-provider/Server.ts"
export type { FakeProvider } from "./fake-provider/Server.ts"

/** A fake provider that is closed with the scope. */
export const scoped = (options?: FakeProviderOptions): Effect.Effect<FakeProvider, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startFakeProvider(options)),
    (fake) => Effect.promise(() => fake.close())
  )
