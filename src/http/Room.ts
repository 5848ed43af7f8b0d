/** Whether TokenHub has room for a request that comes now, and what who is refused is told (FAULTS.md rows 46, 58, 67 and 70). */
import { Context, Effect, Layer } from "effect"
import { Overloaded } from "../domain/RequestError.ts"
import { waitingFor } from "../domain/Stages.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { Drain } from "./Drain.ts"
import type { Strain } from "./Overload.ts"
import { Overload } from "./Overload.ts"

export type Lack = "draining" | "concurrency" | Strain

export class Room extends Context.Service<Room, {
  /** Why there is no room; undefined: there is. Who was let in stays so while it waits for its turn. */
  readonly lack: () => Lack | undefined
  readonly refusals: { readonly [K in Lack]: Overloaded }
}>()("tokenhub/Room") {
  static readonly layer = Layer.effect(
    Room,
    Effect.gen(function*() {
      const { processConcurrency } = yield* Settings
      const drain = yield* Drain
      const overload = yield* Overload
      const taken = () => drain.inFlight() + waitingFor("requests")
      yield* Metrics.inFlight(taken)

      return Room.of({
        lack: () => {
          if (drain.draining()) return "draining"
          return taken() >= processConcurrency ? "concurrency" : overload.strains()[0]
        },
        refusals: {
          draining: new Overloaded({ message: "TokenHub is shutting down", retryAfterMs: 5000 }),
          concurrency: new Overloaded({ message: `TokenHub is serving ${processConcurrency} requests, which is all it may`, retryAfterMs: 1000 }),
          event_loop_lag: new Overloaded({ message: "TokenHub has more work than it can do", retryAfterMs: 1000 }),
          heap_full: new Overloaded({ message: "TokenHub is short of memory", retryAfterMs: 2000 })
        }
      })
    })
  )
}
