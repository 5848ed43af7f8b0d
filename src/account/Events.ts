/** The live feed: every request, as it is settled, and every alert, to whoever watches. */
import { Context, Effect, Layer, Queue } from "effect"
import type { Scope } from "effect"
import type { BudgetAlert } from "../domain/Budget.ts"
import { Overloaded } from "../domain/RequestError.ts"
import type { RequestRow } from "./Ledger.ts"
import { Ledger } from "./Ledger.ts"

/** What waits for one watcher; what comes beyond it is counted and dropped. */
const mostWaiting = 256

const mostWatchers = 64

export type Happening =
  | { readonly type: "request"; readonly row: RequestRow }
  | { readonly type: "budget"; readonly alert: BudgetAlert }

/** `missed`: events that were dropped just before this one, because the watcher was too slow. */
export type Told = Happening & { readonly missed: number }

interface Watcher {
  readonly queue: Queue.Queue<Told>
  missed: number
}

export class Events extends Context.Service<Events, {
  /** Watches from now until the scope closes; the effect inside waits for the next event. */
  readonly watch: Effect.Effect<Effect.Effect<Told>, Overloaded, Scope.Scope>
  readonly alert: (alert: BudgetAlert) => Effect.Effect<void>
}>()("tokenhub/Events") {
  static readonly layer: Layer.Layer<Events, never, Ledger> = Layer.effect(
    Events,
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const watchers = new Set<Watcher>()

      const tell = (happening: Happening) => {
        for (const watcher of watchers) {
          if (Queue.offerUnsafe(watcher.queue, { ...happening, missed: watcher.missed })) watcher.missed = 0
          else watcher.missed++
        }
      }

      const stop = ledger.onSettle((row) => tell({ type: "request", row }))
      yield* Effect.addFinalizer(() => Effect.sync(stop))

      const start = Effect.suspend(() =>
        watchers.size >= mostWatchers
          ? Effect.fail(new Overloaded({ message: `${mostWatchers} readers watch the feed, which is all it may have`, retryAfterMs: 5000 }))
          : Effect.map(Queue.dropping<Told>(mostWaiting), (queue): Watcher => {
            const watcher = { queue, missed: 0 }
            watchers.add(watcher)
            return watcher
          })
      )

      return Events.of({
        watch: Effect.map(
          Effect.acquireRelease(start, (watcher) => Effect.sync(() => void watchers.delete(watcher))),
          ({ queue }) => Queue.take(queue)
        ),
        alert: (alert) => Effect.sync(() => tell({ type: "budget", alert }))
      })
    })
  )
}
