import { Effect, Option, Redacted } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import type { Timeouts } from "../../domain/Catalog.ts"
import type { ProviderSpec, ProviderView } from "../../provider/ProviderRegistry.ts"
import { ProviderRegistry } from "../../provider/ProviderRegistry.ts"
import { secretName } from "../../provider/ProviderSpec.ts"
import type { Health } from "../../route/HealthBoard.ts"
import { HealthBoard } from "../../route/HealthBoard.ts"
import { HealthChecks } from "../../route/HealthChecks.ts"
import { ModelRegistry } from "../../route/ModelRegistry.ts"
import { Vault } from "../../vault/Vault.ts"
import * as AdminAudit from "./AdminAudit.ts"
import { fingerprint, iso, present } from "./AdminWire.ts"
import { BuiltApi } from "../Api.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { shownModel } from "./ModelWire.ts"
import type { NewProvider, ProviderChanges } from "./ProvidersApi.ts"

/** `/admin/providers`. */
export const ProvidersHttp = HttpApiBuilder.group(
  BuiltApi,
  "providers",
  Effect.fnUntraced(function*(handlers) {
    const registry = yield* ProviderRegistry
    const models = yield* ModelRegistry
    const board = yield* HealthBoard
    const checks = yield* HealthChecks
    const record = yield* AdminAudit.audited
    const vault = yield* Vault

    /** What the audit log shows: the card, and the fingerprint of the key that the vault keeps for it. */
    const audit = (view: ProviderView) =>
      view.credential === "vault"
        ? vault.get(secretName(view.card.name)).pipe(
          Effect.map((key) => ({ ...cardOf(view), api_key_fingerprint: fingerprint(Redacted.value(key)) })),
          Effect.catch(() => Effect.succeed(cardOf(view)))
        )
        : Effect.succeed(cardOf(view))

    /** A change, with what the audit log shows of the instance afterwards. */
    const audited = <A extends { readonly view: ProviderView }, E>(change: Effect.Effect<A, E>) =>
      Effect.flatMap(change, (result) => Effect.map(audit(result.view), (after) => ({ ...result, after })))

    const shown = (view: ProviderView) => {
      const own = models.modelsOf(view.card.name)
      const check = checks.last(view.card.name)
      return {
        ...cardOf(view),
        health: Object.fromEntries(own.map((model) => [model.name, healthOf(board.of(model))])),
        models: own.map((model) => model.name),
        ...(check === undefined ? {} : { last_check: { ...check, at: iso(check.at) } })
      }
    }
    const show = (view: ProviderView) => Effect.map(models.ready, () => shown(view))

    /** A new key or address gets a fresh start. */
    const afresh = (name: string) => board.forget(name)

    return handlers
      .handle("put", ({ payload }) =>
        Effect.gen(function*() {
          const before = yield* Effect.option(Effect.flatMap(registry.get(payload.name), audit))
          const { replaced, view } = yield* record(
            audited(registry.put(payload.name, { ...specOf(payload), providerType: payload.provider_type })),
            ({ after, replaced }) => ({
              action: replaced ? "provider.replace" : "provider.add",
              target: payload.name,
              ...(Option.isSome(before) ? { before: before.value } : {}),
              after
            })
          )
          yield* afresh(payload.name)
          const provider = yield* show(view)
          return replaced
            ? { message: "Provider replaced successfully" as const, provider }
            : { message: "Provider added successfully" as const, provider }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("list", () =>
        Effect.andThen(models.ready, Effect.map(registry.list, (views) => ({ providers: views.map(shown) }))))
      .handle("get", ({ params }) =>
        registry.get(params.name).pipe(Effect.flatMap(show), Effect.catch(ErrorEnvelope.respond)))
      .handle("patch", ({ params, payload }) =>
        Effect.gen(function*() {
          const expected = yield* registry.get(params.name)
          const before = yield* audit(expected)
          const change = Effect.map(registry.patch(params.name, specOf(payload), expected.card), (view) => ({ view }))
          const { view } = yield* record(audited(change), ({ after }) => ({ action: "provider.change", target: params.name, before, after }))
          if ([payload.api_key, payload.api_key_env, payload.base_url].some((given) => given !== undefined)) yield* afresh(params.name)
          return yield* show(view)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("remove", ({ params, query }) =>
        Effect.gen(function*() {
          const before = yield* Effect.flatMap(registry.get(params.name), audit)
          const cascade = query.cascade === "true"
          yield* models.ready
          const gone = models.modelsOf(params.name).filter(({ source }) => source === "admin").map(shownModel)
          yield* record(registry.remove(params.name, { cascade }), () => ({
            action: "provider.remove",
            target: params.name,
            before: { ...before, models: gone }
          }))
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("validate", ({ params }) => registry.validate(params.name).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

const timeoutsOf = (timeouts: NonNullable<ProviderChanges["timeouts"]>): Timeouts =>
  present({
    connectMs: timeouts.connect_ms,
    firstByteMs: timeouts.first_byte_ms,
    streamIdleMs: timeouts.stream_idle_ms,
    wholeCallMs: timeouts.whole_call_ms
  })

const specOf = (given: ProviderChanges | NewProvider): Partial<ProviderSpec> =>
  present({
    providerType: given.provider_type,
    apiKey: given.api_key,
    baseUrl: given.base_url,
    apiKeyEnv: given.api_key_env,
    timeouts: given.timeouts === undefined ? undefined : timeoutsOf(given.timeouts),
    maxConcurrency: given.max_concurrency,
    allowPrivate: given.allow_private,
    enabled: given.enabled
  })

/** A card as it is shown and audited: its key is no part of it. */
const cardOf = ({ card, credential }: ProviderView) => ({
  name: card.name,
  provider_type: card.providerType,
  base_url: card.baseUrl,
  credential,
  api_key_env: card.apiKeyEnv,
  timeouts: present({
    connect_ms: card.timeouts.connectMs,
    first_byte_ms: card.timeouts.firstByteMs,
    stream_idle_ms: card.timeouts.streamIdleMs,
    whole_call_ms: card.timeouts.wholeCallMs
  }),
  max_concurrency: card.maxConcurrency,
  allow_private: card.allowPrivate,
  enabled: card.enabled,
  source: card.source
})

/** How a model has been doing, as the wire shows it. */
export const healthOf = ({ circuit, errorRate, latencyMs, reason, retryAfterMs }: Health) => ({
  circuit,
  ...(reason === undefined ? {} : { reason }),
  retry_after_ms: Math.ceil(retryAfterMs),
  latency_ms: Math.round(latencyMs),
  error_rate: Math.round(errorRate * 1e4) / 1e4
})
