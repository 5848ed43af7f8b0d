/** How every model at its provider has been doing: circuit breaker, cool-downs, latency and error rate. */
import { Clock, Context, Effect, Layer } from "effect"
import type { ModelCard } from "../domain/Catalog.ts"
import type { Fault } from "../domain/ProviderError.ts"
import { Settings } from "../Settings.ts"
import { circuit } from "../telemetry/Metrics.ts"
import type { Breaker } from "./Breaker.ts"
import { admits, admitted, closed, settled, stateOf } from "./Breaker.ts"

export type CircuitState = "closed" | "open" | "half_open"

export interface Health {
  readonly circuit: CircuitState
  /** Milliseconds until it may be called again: 0 now. `reason` is set while it is more. */
  readonly retryAfterMs: number
  readonly reason?: "circuit_open" | "cooling_down"
  /** True where it cools because of a rate limit or a quota. */
  readonly rateLimited: boolean
  /** Moving averages. */
  readonly latencyMs: number
  readonly errorRate: number
}

export interface CallOutcome {
  /** False without a fault: the caller left, which says nothing about the model and only gives a probe's place back. */
  readonly ok: boolean
  readonly fault?: Fault
  /** Counts for the circuit breaker (FAULTS.md, B). */
  readonly breaks: boolean
  /** How long to leave it alone; 0: not at all. */
  readonly coolDownMs: number
  readonly durationMs: number
}

/** What is kept of a model at its provider. Times are milliseconds of the monotonic clock. */
interface History {
  readonly provider: string
  readonly upstreamName: string
  readonly breaker: Breaker
  readonly coolUntil: number
  readonly rateLimited: boolean
  /** Of calls that succeeded; 0: none yet. */
  readonly latencyMs: number
  /** As of `ratedAt`; it fades from then on. */
  readonly errorRate: number
  readonly ratedAt: number
}

/** An error rate halves in this time, so that a model which nobody asks any more gets another chance. */
const forgiveMs = 300_000

/** How long to wait where another call is the probe: nobody knows when it ends. */
const probeWaitMs = 1_000

const limitFaults: ReadonlySet<Fault | undefined> = new Set<Fault>(["rate_limited", "quota_exhausted"])

const unknown: Health = { circuit: "closed", retryAfterMs: 0, rateLimited: false, latencyMs: 0, errorRate: 0 }

const blank = (model: ModelCard): History => ({
  provider: model.provider,
  upstreamName: model.upstreamName,
  breaker: closed,
  coolUntil: 0,
  rateLimited: false,
  latencyMs: 0,
  errorRate: 0,
  ratedAt: 0
})

const faded = ({ errorRate, ratedAt }: History, now: number): number =>
  errorRate === 0 ? 0 : errorRate * 2 ** ((ratedAt - now) / forgiveMs)

/** An exponentially weighted moving average. */
const mix = (average: number, sample: number, share: number): number => average + (sample - average) * share

export class HealthBoard extends Context.Service<HealthBoard, {
  /** State now; no I/O: the router asks for every candidate. */
  readonly of: (model: ModelCard) => Health
  /**
   * Asks to call the model now. False while its circuit is open, while it cools, or while another call is the one probe of
   * a half-open circuit; a true must be followed by one `record`.
   */
  readonly admit: (model: ModelCard) => Effect.Effect<boolean>
  readonly record: (model: ModelCard, outcome: CallOutcome) => Effect.Effect<void>
  /** A credential that was changed by an admin gets a fresh start. */
  readonly forget: (provider: string) => Effect.Effect<void>
}>()("tokenhub/HealthBoard") {
  static readonly layer: Layer.Layer<HealthBoard, never, Settings> = Layer.effect(
    HealthBoard,
    Effect.gen(function*() {
      const settings = yield* Settings
      const clock = yield* Clock.Clock
      const limits = { failures: settings.breakerFailures, openMs: settings.breakerOpenMs }
      const records = new Map<string, History>()
      /** Until when a provider's key, which it refused, is left alone. */
      const refusedUntil = new Map<string, number>()

      const monotonicMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

      const find = (model: ModelCard): History | undefined => {
        const record = records.get(model.name)
        return record?.provider === model.provider && record.upstreamName === model.upstreamName ? record : undefined
      }

      const healthOf = (model: ModelCard, now: number): Health => {
        const record = find(model)
        const refused = refusedUntil.size === 0 ? 0 : (refusedUntil.get(model.provider) ?? 0) - now
        if (record === undefined && refused <= 0) return unknown
        const kept = record ?? blank(model)
        const { breaker, coolUntil, latencyMs, rateLimited } = kept
        const cooling = Math.max(refused, coolUntil - now)
        const broken = admits(breaker, now) ? 0 : Math.max((breaker.openUntil ?? now) - now, probeWaitMs)
        const retryAfterMs = Math.ceil(Math.max(cooling, broken, 0))
        return {
          circuit: stateOf(breaker, now),
          retryAfterMs,
          ...(retryAfterMs === 0 ? {} : { reason: broken >= cooling ? "circuit_open" : "cooling_down" }),
          rateLimited: rateLimited && coolUntil > now && broken === 0,
          latencyMs,
          errorRate: faded(kept, now)
        }
      }

      const change = (model: ModelCard, now: number, next: History): Effect.Effect<void> => {
        const before = find(model)?.breaker ?? closed
        records.set(model.name, next)
        const state = stateOf(next.breaker, now)
        // An open circuit becomes half open by time alone; that shows when the probe goes out.
        return before.openUntil === next.breaker.openUntil && before.probeUntil === next.breaker.probeUntil
          ? Effect.void
          : circuit({ model: model.name, provider: model.provider, state })
      }

      return HealthBoard.of({
        of: (model) => healthOf(model, monotonicMs()),
        admit: (model) => {
          const now = monotonicMs()
          if (healthOf(model, now).retryAfterMs > 0) return Effect.succeed(false)
          const record = find(model)
          if (record === undefined || record.breaker.openUntil === null) return Effect.succeed(true)
          const breaker = admitted(record.breaker, now, settings.wholeCallTimeoutMs)
          return Effect.as(change(model, now, { ...record, breaker }), true)
        },
        record: (model, outcome) => {
          const now = monotonicMs()
          const old = find(model) ?? blank(model)
          const failed = !outcome.ok && (outcome.breaks || outcome.coolDownMs > 0)
          const result = outcome.ok ? "success" : outcome.breaks ? "failure" : "ignored"
          const breaker = settled(old.breaker, now, now - outcome.durationMs, result, limits)
          const coolUntil = outcome.coolDownMs > 0 ? Math.max(old.coolUntil, now + outcome.coolDownMs) : old.coolUntil
          if (outcome.fault === "authentication" && outcome.coolDownMs > 0) {
            const until = refusedUntil.get(model.provider) ?? 0
            refusedUntil.set(model.provider, Math.max(until, now + outcome.coolDownMs))
          }
          return change(model, now, {
            ...old,
            breaker,
            coolUntil,
            rateLimited: outcome.coolDownMs > 0 ? limitFaults.has(outcome.fault) : old.rateLimited,
            latencyMs: outcome.ok ? mix(old.latencyMs || outcome.durationMs, outcome.durationMs, 0.2) : old.latencyMs,
            errorRate: outcome.ok || failed ? mix(faded(old, now), failed ? 1 : 0, 0.1) : faded(old, now),
            ratedAt: now
          })
          },
        forget: (provider) =>
          Effect.suspend(() => {
            refusedUntil.delete(provider)
            const forgotten = [...records].filter(([, record]) => record.provider === provider)
            for (const [name] of forgotten) records.delete(name)
            return Effect.forEach(
              forgotten.filter(([, record]) => record.breaker.openUntil !== null),
              ([model]) => circuit({ model, provider, state: "closed" }),
              { discard: true }
            )
          })
      })
    })
  )
}
