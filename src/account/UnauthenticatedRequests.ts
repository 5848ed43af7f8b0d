/** Requests without a good credential: counted, not logged one by one, so that a flood can't fill the disk. */
import { Clock, Context, Effect, Layer, Schedule } from "effect"
import { makeRequestId } from "../domain/Ids.ts"
import * as Usages from "../domain/Usage.ts"
import * as ClientAddress from "./ClientAddress.ts"
import { Ledger } from "./Ledger.ts"

/** How often the counts are written down, each time as one event row. */
const writeTurns = Schedule.spaced("1 minute")

/** Addresses that are counted apart within a minute; the rest is counted together. */
const counted = 1000

/** Addresses that a row names, the busiest first. */
const named = 10

const others = "others"

export class UnauthenticatedRequests extends Context.Service<UnauthenticatedRequests, {
  /** Counts one refused request of an address. */
  readonly count: (address: string) => Effect.Effect<void>
}>()("tokenhub/UnauthenticatedRequests") {
  static readonly layer: Layer.Layer<UnauthenticatedRequests, never, Ledger> = Layer.effect(
    UnauthenticatedRequests,
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const counts = new Map<string, number>()
      let since = 0

      const write = Effect.suspend(() => {
        if (counts.size === 0) return Effect.void
        const summary = summaryOf(counts)
        counts.clear()
        return Effect.flatMap(Clock.currentTimeMillis, (now) =>
          ledger.settle({
            id: makeRequestId(since),
            at: since,
            event: "unauthenticated",
            endpoint: summary,
            mode: null,
            model: null,
            provider: null,
            clientKey: null,
            status: 401,
            errorCode: null,
            durationMs: Math.max(0, now - since),
            reserved: 0n,
            usage: Usages.zero,
            cost: 0n
          }))
      })

      yield* Effect.addFinalizer(() => write)
      yield* Effect.forkScoped(Effect.schedule(write, writeTurns))

      return UnauthenticatedRequests.of({
        count: (address) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (counts.size === 0) since = now
            const group = ClientAddress.groupOf(address)
            const key = counts.has(group) || counts.size < counted ? group : others
            counts.set(key, (counts.get(key) ?? 0) + 1)
          })
      })
    })
  )
}

/** `203.0.113.7 412, 2001:db8:0:1::/64 3, others 12`: the busiest addresses with their counts, then all others together. */
const summaryOf = (counts: ReadonlyMap<string, number>): string => {
  const sorted = [...counts].filter(([group]) => group !== others).toSorted((a, b) => b[1] - a[1])
  const rest = sorted.slice(named).reduce((sum, [, count]) => sum + count, counts.get(others) ?? 0)
  return [...sorted.slice(0, named), ...(rest > 0 ? [[others, rest] as const] : [])]
    .map(([group, count]) => `${group} ${count}`)
    .join(", ")
}
