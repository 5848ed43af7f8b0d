/** What an admin gives for a provider instance, and the card that it becomes. Pure but for its errors. */
import { Effect, Redacted, Result } from "effect"
import type { ProviderCard, Timeouts } from "../domain/Catalog.ts"
import type { ProviderName } from "../domain/Ids.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import { checkBaseUrl } from "./EgressGuard.ts"
import type { ProviderType } from "./ProviderAdapter.ts"

/** What an admin gives; absent fields keep their default (PUT-like on POST), or their value (PATCH). */
export interface ProviderSpec {
  readonly providerType: string
  readonly apiKey?: Redacted.Redacted
  readonly baseUrl?: string | null
  readonly apiKeyEnv?: string | null
  readonly timeouts?: Timeouts
  readonly maxConcurrency?: number | null
  readonly allowPrivate?: boolean
  readonly enabled?: boolean
}

/** The name under which the vault keeps an instance's key. */
export const secretName = (name: ProviderName): string => `provider/${name}`

const variableOf = (name: string): string => `${name.toUpperCase().replace(/[^A-Z0-9]/g, "_")}_API_KEY`

/** The environment variables that may hold an instance's key, in order: its own setting, its name's, its type's. */
export const keyVariables = (card: ProviderCard, type: ProviderType | undefined): ReadonlyArray<string> => [
  ...(card.apiKeyEnv === null ? [] : [card.apiKeyEnv]),
  variableOf(card.name),
  variableOf(card.providerType),
  ...(type?.keyVariables ?? [])
]

/** The scheme, host and port that an instance's key may be sent to. */
export const originOf = (card: ProviderCard, type: ProviderType | undefined): string => {
  const url = card.baseUrl ?? type?.defaultBaseUrl ?? ""
  return URL.canParse(url) ? new URL(url).origin : ""
}

const wrong = (param: string, message: string): Effect.Effect<never, InvalidRequest> =>
  Effect.fail(new InvalidRequest({ message: `${param} ${message}`, param }))

/** The longest time-out that an instance may have: a day, in milliseconds. */
const longestTimeoutMs = 86_400_000

const checkTimeouts = (timeouts: Timeouts): Effect.Effect<void, InvalidRequest> => {
  const bad = Object.entries(timeouts).find(([, ms]) => !Number.isInteger(ms) || Number(ms) < 1 || Number(ms) > longestTimeoutMs)
  return bad === undefined
    ? Effect.void
    : wrong("timeouts", `has a ${bad[0]} that is not a whole number of milliseconds from 1 to ${longestTimeoutMs}`)
}

/** A key goes into a header: visible ASCII, in one piece. */
const checkKey = (key: Redacted.Redacted | undefined): Effect.Effect<void, InvalidRequest> =>
  key === undefined || /^[\x21-\x7e]{1,4096}$/.test(Redacted.value(key))
    ? Effect.void
    : wrong("api_key", "must be 1 to 4,096 visible ASCII characters without white space")

const checkUrl = (spec: ProviderSpec, type: ProviderType, privateAllowed: boolean): Effect.Effect<string | null, InvalidRequest> => {
  const given = spec.baseUrl ?? null
  if (given === null && type.defaultBaseUrl === null) return wrong("base_url", `is required for the type '${type.name}'`)
  if (given === null) return Effect.succeed(null)
  const checked = checkBaseUrl(given, privateAllowed || type.local || spec.allowPrivate === true)
  return Result.isFailure(checked) ? wrong("base_url", checked.failure) : Effect.succeed(checked.success)
}

/** The card of a spec whose every field is good; `privateAllowed` is the setting for all upstreams. */
export const cardOf = Effect.fnUntraced(function*(
  name: ProviderName,
  spec: ProviderSpec,
  type: ProviderType,
  source: ProviderCard["source"],
  privateAllowed: boolean
): Effect.fn.Return<ProviderCard, InvalidRequest> {
  const baseUrl = yield* checkUrl(spec, type, privateAllowed)
  yield* checkTimeouts(spec.timeouts ?? {})
  const maxConcurrency = spec.maxConcurrency ?? null
  if (maxConcurrency !== null && (!Number.isInteger(maxConcurrency) || maxConcurrency < 1 || maxConcurrency > 65_536)) {
    return yield* wrong("max_concurrency", "must be a whole number from 1 to 65,536")
  }
  const apiKeyEnv = spec.apiKeyEnv ?? null
  if (apiKeyEnv !== null && (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(apiKeyEnv) || apiKeyEnv.startsWith("TOKENHUB_"))) {
    return yield* wrong("api_key_env", "must be the name of an environment variable, and none of TokenHub's own")
  }
  yield* checkKey(spec.apiKey)
  return {
    name,
    providerType: type.name,
    baseUrl,
    apiKeyEnv,
    timeouts: spec.timeouts ?? {},
    maxConcurrency,
    allowPrivate: spec.allowPrivate ?? false,
    enabled: spec.enabled ?? true,
    source
  }
})
