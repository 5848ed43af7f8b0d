/**
 * Requests and tokens a minute, in token buckets. Own buckets in place of effect/persistence's RateLimiter: several limits are
 * taken together or not at all, what is left is shown in headers, and a request spends under a microsecond here, not 11.
 * Every method is an effect, so that a layer on a shared store can stand in; `wait` is what that one would estimate.
 */
import { Clock, Context, Effect, Layer } from "effect"
import type { Bucket } from "./TokenBucket.ts"
import * as TokenBucket from "./TokenBucket.ts"

/** So much of one bucket. */
export interface Claim {
  /** The bucket's name. */
  readonly bucket: string
  readonly perMinute: number
  readonly amount: number
}

/** What a bucket can't give. */
export interface Shortage<C extends Claim> {
  readonly claim: C
  readonly retryAfterMs: number
}

export interface Standing {
  readonly limit: number
  readonly remaining: number
  /** Milliseconds until the bucket is full again. */
  readonly resetMs: number
}

export class RateLimits extends Context.Service<RateLimits, {
  /**
   * Takes all claims, or none; then the one that waits longest. A claim of more than a bucket holds takes a full bucket: what it
   * took is the smaller of the two.
   */
  readonly take: <C extends Claim>(claims: ReadonlyArray<C>) => Effect.Effect<Shortage<C> | undefined>
  /** Puts back what was taken in vain; a negative amount takes what was taken too little, whether it is there or not. */
  readonly give: (claims: ReadonlyArray<Claim>) => Effect.Effect<void>
  /** What is left of the bucket that has the least; undefined: there is none. Their amounts do not matter. */
  readonly standing: (claims: ReadonlyArray<Omit<Claim, "amount">>) => Effect.Effect<Standing | undefined>
  /** Milliseconds until all claims can be met, taking none; 0: now. No I/O. */
  readonly wait: (claims: ReadonlyArray<Claim>) => number
}>()("tokenhub/RateLimits") {
  /** The buckets of this process; a restart fills them. */
  static readonly layer: Layer.Layer<RateLimits> = Layer.effect(
    RateLimits,
    Effect.map(Clock.Clock, (clock) => {
      const buckets = new Map<string, Bucket>()
      const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

      const bucketOf = (name: string, perMinute: number, at: number): Bucket => {
        const known = buckets.get(name)
        if (known !== undefined) return TokenBucket.fill(known, perMinute, at)
        const made = TokenBucket.full(perMinute, at)
        buckets.set(name, made)
        return made
      }

      const add = (name: string, perMinute: number, amount: number, at: number) => {
        const bucket = bucketOf(name, perMinute, at)
        bucket.level = Math.min(perMinute, bucket.level + amount)
      }

      const shortage = <C extends Claim>(claims: ReadonlyArray<C>, at: number): Shortage<C> | undefined => {
        let worst: Shortage<C> | undefined
        for (const claim of claims) {
          const { amount, bucket, perMinute } = claim
          const retryAfterMs = TokenBucket.waitFor(bucketOf(bucket, perMinute, at), amount, perMinute)
          if (retryAfterMs > (worst?.retryAfterMs ?? 0)) worst = { claim, retryAfterMs }
        }
        return worst
      }

      return RateLimits.of({
        // Done when called: what is there at once costs a fiber nothing.
        take: (claims) => {
          const at = now()
          const missing = shortage(claims, at)
          if (missing === undefined) {
            for (const { amount, bucket, perMinute } of claims) add(bucket, perMinute, -Math.min(amount, perMinute), at)
          }
          return Effect.succeed(missing)
        },
        give: (claims) => {
          const at = now()
          for (const { amount, bucket, perMinute } of claims) add(bucket, perMinute, amount, at)
          return Effect.void
        },
        standing: (claims) => {
          const at = now()
          let least: Standing | undefined
          for (const { bucket, perMinute } of claims) {
            const held = bucketOf(bucket, perMinute, at)
            const remaining = Math.max(0, Math.floor(held.level + 1e-9 * perMinute))
            if (remaining < (least?.remaining ?? Infinity)) {
              least = { limit: perMinute, remaining, resetMs: TokenBucket.waitFor(held, perMinute, perMinute) }
            }
          }
          return Effect.succeed(least)
        },
        wait: (claims) => shortage(claims, now())?.retryAfterMs ?? 0
      })
    })
  )
}
