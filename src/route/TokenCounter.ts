/** How many prompt tokens a request has, where the count is what a client asks for; routing estimates (`TokenEstimator.ts`). */
import { Worker } from "node:worker_threads"
import { Context, Data, Effect, Layer, RcRef } from "effect"
import type { ChatRequest } from "../domain/Chat.ts"
import { promptTokens } from "./TokenEstimator.ts"
import type { CountJob, CountResult } from "./TokenWorker.ts"

/** The thread holds 75 MB, and goes when nobody has asked for so long. */
const idleTimeToLive = "5 minutes"

/** Who waits longer gets the estimate: others asked for more than the thread can do. */
const patience = "10 seconds"

class ThreadFailed extends Data.TaggedError("ThreadFailed")<{ readonly message: string }> {}

/** Beside this file, as it is or bundled. */
const script = new URL(import.meta.url.endsWith(".ts") ? "./TokenWorker.ts" : "./TokenWorker.js", import.meta.url)

type Waiter = (outcome: Effect.Effect<number, ThreadFailed>) => void

/** A thread that counts; it ends with the scope. */
const thread = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const worker = new Worker(script)
      const waiters = new Map<number, Waiter>()
      const fail = (message: string) => {
        for (const waiter of waiters.values()) waiter(Effect.fail(new ThreadFailed({ message })))
        waiters.clear()
      }
      worker.on("message", ({ id, tokens }: CountResult) => {
        waiters.get(id)?.(Effect.succeed(tokens))
        waiters.delete(id)
      })
      worker.on("error", (error) => fail(error.message))
      worker.on("exit", () => fail("it has ended"))
      worker.unref()
      return { waiters, worker }
    }),
    ({ worker }) => Effect.promise(() => worker.terminate())
  ),
  ({ waiters, worker }) => {
    let last = 0
    return (texts: ReadonlyArray<string>): Effect.Effect<number, ThreadFailed> =>
      Effect.callback((resume) => {
        const id = ++last
        waiters.set(id, resume)
        worker.postMessage({ id, texts } satisfies CountJob)
        return Effect.sync(() => void waiters.delete(id))
      })
  }
)

export class TokenCounter extends Context.Service<TokenCounter, {
  /**
   * Texts by o200k_base in a thread of its own, messages, tools and media as they are estimated for routing; the plain estimate
   * where the thread fails or is too busy.
   */
  readonly count: (request: ChatRequest) => Effect.Effect<number>
}>()("tokenhub/TokenCounter") {
  /** Nothing is loaded before the first count. */
  static readonly layer = Layer.effect(
    TokenCounter,
    Effect.gen(function*() {
      const threads = yield* RcRef.make({ acquire: thread, idleTimeToLive })

      const tokensOf = (texts: ReadonlyArray<string>) =>
        Effect.scoped(Effect.flatMap(RcRef.get(threads), (count) => count(texts))).pipe(
          Effect.tapError(() => RcRef.invalidate(threads)),
          Effect.timeout(patience)
        )

      return TokenCounter.of({
        count: Effect.fn("TokenCounter.count")(function*(request: ChatRequest) {
          const texts: Array<string> = []
          const rest = promptTokens(request, (text) => {
            texts.push(text)
            return 0
          })
          return yield* tokensOf(texts).pipe(
            Effect.map((tokens) => tokens + rest),
            Effect.catch(({ message }) =>
              Effect.as(Effect.logWarning("Tokens are estimated, since they could not be counted", message), promptTokens(request)))
          )
        })
      })
    })
  )
}
