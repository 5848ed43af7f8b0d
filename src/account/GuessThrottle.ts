/** Slows down who guesses the admin password (VAULT.md, rule 4). */
import { Clock, Context, Effect, Layer } from "effect"
import { TooManyRequests } from "../domain/RequestError.ts"
import { SettingStore } from "../store/SettingStore.ts"
import type { StoreError } from "../store/StoreError.ts"
import * as ClientAddress from "./ClientAddress.ts"

/** Wrong passwords in a row that an address has free. */
const free = 5
const firstLockMs = 1000
const longestLockMs = 300_000
const longestSharedLockMs = 5000

/** Addresses that are remembered; the one whose last guess is oldest is forgotten first. */
const remembered = 10_000

const settingPrefix = "guess/"

/** How long an address is locked after so many wrong passwords in a row: from the fifth on 1 s, doubling. */
const lockMs = (group: string, wrong: number): number =>
  wrong < free
    ? 0
    : Math.min(firstLockMs * 2 ** (wrong - free), ClientAddress.isShared(group) ? longestSharedLockMs : longestLockMs)

interface Guesses {
  readonly wrong: number
  /** On the monotonic clock, milliseconds: a jump of the wall clock ends no lock. */
  readonly lockedUntil: number
}

export class GuessThrottle extends Context.Service<GuessThrottle, {
  /** Fails at once while the address is locked, before anything is derived or compared. */
  readonly check: (address: string) => Effect.Effect<void, TooManyRequests>
  /** Counts a wrong password; a missing credential is no guess and is not reported here. */
  readonly wrong: (address: string) => Effect.Effect<void>
  /** The right password: the address starts afresh. */
  readonly right: (address: string) => Effect.Effect<void>
}>()("tokenhub/GuessThrottle") {
  static readonly layer: Layer.Layer<GuessThrottle, StoreError, SettingStore> = Layer.effect(
    GuessThrottle,
    Effect.gen(function*() {
      const settings = yield* SettingStore
      const guesses = new Map<string, Guesses>()
      const nowMs = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

      const remember = (group: string, wrong: number, now: number) => {
        guesses.delete(group)
        guesses.set(group, { wrong, lockedUntil: now + lockMs(group, wrong) })
      }

      // Only the count is stored: a lock starts anew with the process, so neither a restart nor a clock ends one early.
      const startedAt = yield* nowMs
      for (const [name, value] of yield* settings.withPrefix(settingPrefix)) {
        const wrong = Number(value)
        if (Number.isSafeInteger(wrong) && wrong > 0) remember(name.slice(settingPrefix.length), wrong, startedAt)
      }

      /** The lock in memory holds whether or not it could be stored. */
      const stored = (write: Effect.Effect<void, StoreError>) =>
        Effect.catchTag(write, "StoreError", (error) =>
          Effect.logWarning("A guess counter could not be stored", { reason: error.message }))

      const forget = (group: string) => {
        guesses.delete(group)
        return stored(settings.remove(settingPrefix + group))
      }

      return GuessThrottle.of({
        check: (address) => {
          const group = ClientAddress.groupOf(address)
          const known = guesses.get(group)
          if (known === undefined) return Effect.void
          return Effect.flatMap(nowMs, (now) =>
            now >= known.lockedUntil
              ? Effect.void
              : Effect.fail(
                new TooManyRequests({ message: "Too many wrong passwords; try again later", retryAfterMs: known.lockedUntil - now })
              ))
        },
        wrong: Effect.fnUntraced(function*(address: string) {
          const group = ClientAddress.groupOf(address)
          const wrong = (guesses.get(group)?.wrong ?? 0) + 1
          remember(group, wrong, yield* nowMs)
          yield* stored(settings.set(settingPrefix + group, String(wrong)))
          const oldest = guesses.keys().next().value
          if (guesses.size > remembered && oldest !== undefined) yield* forget(oldest)
        }),
        right: (address) =>
          Effect.suspend(() => {
            const group = ClientAddress.groupOf(address)
            return guesses.has(group) ? forget(group) : Effect.void
          })
      })
    })
  )
}
