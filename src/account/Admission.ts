/** What a caller may do now: its key's rules, limits and budget, and those of the model and of all callers together. */
import { Context, Data, Effect, Layer } from "effect"
import type { CallerRules } from "../domain/Candidate.ts"
import type { ModelCard } from "../domain/Catalog.ts"
import type { ClientKey } from "../domain/ClientKey.ts"
import { allowsModel } from "../domain/ClientKey.ts"
import { inOrder } from "../domain/Eager.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { remembered } from "../domain/Remembered.ts"
import type { BudgetExceeded, StoreUnavailable } from "../domain/RequestError.ts"
import { TooManyRequests } from "../domain/RequestError.ts"
import type { Usage } from "../domain/Usage.ts"
import { totalTokens } from "../domain/Usage.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import type { Reservation } from "./Budgets.ts"
import { Budgets } from "./Budgets.ts"
import { ClientKeys } from "./ClientKeys.ts"
import type { Claim, Shortage, Standing } from "./RateLimits.ts"
import { RateLimits } from "./RateLimits.ts"

const ofWhom = { key: "of this key", model: "of this model", all: "of all callers together" } as const

interface LimitClaim extends Claim {
  readonly of: keyof typeof ofWhom
  readonly unit: "requests" | "tokens"
}

/** A model's own limit a minute is used up. */
export class ModelLimited extends Data.TaggedError("ModelLimited")<{ readonly message: string; readonly retryAfterMs: number }> {}

export interface Call {
  /** null: a caller without a key. */
  readonly clientKey: string | null
  readonly model: ModelCard
  /** Estimated, prompt and completion together. */
  readonly tokens: number
  /** The most that it can cost. */
  readonly most: NanoDollars
  /** When it begins, Unix milliseconds, as on the ledger. */
  readonly at: number
}

/** A call's place. */
export interface Place {
  /** The call was made: takes the truth in place of what was reserved. */
  readonly settle: (usage: Usage, cost: NanoDollars) => Effect.Effect<void>
  /** Gives everything back, unless it was settled. */
  readonly leave: Effect.Effect<void>
}

/** What is left to a caller of the limit that it reaches first. */
export interface Standings {
  readonly requests: Standing | undefined
  readonly tokens: Standing | undefined
}

export class Admission extends Context.Service<Admission, {
  /** Counts a client's request; done when called where no limit stands against it. */
  readonly request: (key: ClientKey | null) => Effect.Effect<void, TooManyRequests>
  /** undefined: no limit applies. */
  readonly standings: (key: ClientKey | null) => Effect.Effect<Standings | undefined>
  /** `tokensAt`: the estimate of what a call of that model takes, prompt and completion together. */
  readonly rules: (clientKey: string | null, tokensAt: (model: ModelCard) => number) => CallerRules
  /** Takes a place for one upstream call, under every limit and budget that applies, or none. Done when called, if nothing must be read. */
  readonly call: (call: Call) => Effect.Effect<Place, ModelLimited | TooManyRequests | BudgetExceeded | StoreUnavailable>
}>()("tokenhub/Admission") {
  static readonly layer: Layer.Layer<Admission, never, Budgets | ClientKeys | RateLimits | Settings> = Layer.effect(
    Admission,
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const keys = yield* ClientKeys
      const limits = yield* RateLimits
      const { limitRpm, limitTpm } = yield* Settings

      const keyOf = (clientKey: string | null): ClientKey | null => (clientKey === null ? null : keys.known(clientKey) ?? null)

      /** One request's and one token's claims. */
      const keyless = {
        requests: claim("all", "", "requests", limitRpm),
        tokens: claim("all", "", "tokens", limitTpm)
      }
      /** The same, made once as long as the key stays as it is. */
      const callerClaims = remembered((key: ClientKey) => ({
        requests: [...claim("key", key.id, "requests", key.rpm), ...keyless.requests],
        tokens: [...claim("key", key.id, "tokens", key.tpm), ...keyless.tokens]
      }))
      const claimsOf = (key: ClientKey | null) => (key === null ? keyless : callerClaims(key))

      const modelClaims = remembered((model: ModelCard) => [
        ...claim("model", model.name, "requests", model.rpm),
        ...claim("model", model.name, "tokens", model.tpm)
      ])

      const refuse = ({ claim: { of, perMinute, unit }, retryAfterMs }: Shortage<LimitClaim>): Effect.Effect<never, ModelLimited | TooManyRequests> => {
        const message = `The limit of ${perMinute} ${unit} a minute ${ofWhom[of]} is used up; try again in ${Math.ceil(retryAfterMs / 1000)} s`
        const error = of === "model" ? new ModelLimited({ message, retryAfterMs }) : new TooManyRequests({ message, retryAfterMs })
        return Effect.andThen(Metrics.rateLimited({ of, unit }), Effect.fail(error))
      }

      const placeOf = (counted: ReadonlyArray<LimitClaim>, reservation: Reservation): Place => {
        let settled = false
        const end = (back: ReadonlyArray<Claim>, cost: NanoDollars) => {
          settled = true
          return inOrder(() => limits.give(back), () => reservation.settle(cost))
        }
        return {
          settle: (usage, cost) => (settled ? Effect.void : end(counted.filter(isTokens).map(tooMuch(totalTokens(usage))), cost)),
          leave: Effect.suspend(() => (settled ? Effect.void : end(counted.map(taken), 0n)))
        }
      }

      return Admission.of({
        request: (key) => {
          const claims = claimsOf(key).requests
          if (claims.length === 0) return Effect.void
          return Effect.flatMapEager(limits.take(claims), (shortage) =>
            shortage === undefined ? Effect.void : Effect.catchTag(refuse(shortage), "ModelLimited", Effect.die))
        },
        standings: (key) => {
          const { requests, tokens } = claimsOf(key)
          return requests.length + tokens.length === 0
            ? Effect.succeed(undefined)
            : Effect.flatMapEager(limits.standing(requests), (requests) => Effect.mapEager(limits.standing(tokens), (tokens) => ({ requests, tokens })))
        },
        rules: (clientKey, tokensAt) => {
          const key = keyOf(clientKey)
          return {
            allows: (model) => allowsModel(key, model),
            priced: budgets.applies(key),
            waitMs: (model) => {
              const claims = modelClaims(model)
              return claims.length === 0 ? 0 : limits.wait(counting(claims, tokensAt(model)))
            }
          }
        },
        call: ({ at, clientKey, model, most, tokens }) => {
          const key = keyOf(clientKey)
          const counted = counting([...claimsOf(key).tokens, ...modelClaims(model)], tokens)
          return Effect.flatMapEager(limits.take(counted), (shortage): ReturnType<Admission["Service"]["call"]> =>
            shortage !== undefined ? refuse(shortage) : Effect.matchCauseEffectEager(budgets.reserve({ key, most, at }), {
              onFailure: (cause) => Effect.andThen(limits.give(counted.map(taken)), Effect.failCause(cause)),
              onSuccess: (reservation) => Effect.succeed(placeOf(counted, reservation))
            }))
        }
      })
    })
  )
}

/** One of the unit. */
const claim = (of: LimitClaim["of"], name: string, unit: LimitClaim["unit"], perMinute: number | null | undefined): ReadonlyArray<LimitClaim> =>
  perMinute === null || perMinute === undefined ? [] : [{ of, unit, bucket: `${of}/${name}/${unit}`, perMinute, amount: 1 }]

/** The claims of a call of so many tokens. */
const counting = (claims: ReadonlyArray<LimitClaim>, tokens: number): ReadonlyArray<LimitClaim> =>
  claims.map((claim) => (isTokens(claim) ? { ...claim, amount: tokens } : claim))

/** What a claim took: no bucket gives more than it can hold. */
const taken = (claim: Claim): Claim => ({ ...claim, amount: Math.min(claim.amount, claim.perMinute) })

const tooMuch = (used: number) => (claim: Claim): Claim => ({ ...claim, amount: taken(claim).amount - used })

const isTokens = ({ unit }: LimitClaim): boolean => unit === "tokens"
