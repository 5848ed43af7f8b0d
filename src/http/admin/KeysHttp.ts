import { Clock, Effect, Redacted } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { Budgets } from "../../account/Budgets.ts"
import type { NewClientKey } from "../../account/ClientKeys.ts"
import { ClientKeys } from "../../account/ClientKeys.ts"
import type { ClientKey } from "../../domain/ClientKey.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { audited } from "./AdminAudit.ts"
import { fingerprint } from "./AdminWire.ts"
import { BuiltApi } from "../Api.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { defaultGrace } from "./KeysApi.ts"
import { settingsOf, shownKey } from "./KeyWire.ts"

/** `/admin/keys`. */
export const KeysHttp = HttpApiBuilder.group(
  BuiltApi,
  "keys",
  Effect.fnUntraced(function*(handlers) {
    const budgets = yield* Budgets
    const keys = yield* ClientKeys
    const record = yield* audited

    const standing = (key: ClientKey) => Effect.flatMap(Clock.currentTimeMillis, (now) => budgets.standing(key, now))

    const shown = (key: ClientKey) => Effect.map(standing(key), (standing) => shownKey(key, standing))

    // The secret is told once: not being able to say what was spent must not keep it back.
    const withSecret = ({ key, secret }: NewClientKey) =>
      Effect.map(Effect.catch(standing(key), () => Effect.succeed(undefined)), (standing) => ({
        ...shownKey(key, standing),
        key: Redacted.value(secret)
      }))

    const audit = (key: ClientKey) => shownKey(key, undefined)

    const auditNew = ({ key, secret }: NewClientKey) => ({ ...audit(key), fingerprint: fingerprint(Redacted.value(secret)) })

    return handlers
      .handle("create", ({ payload }) =>
        Effect.gen(function*() {
          const settings = yield* Effect.fromResult(settingsOf(payload, null))
          if ((settings.expiresAt ?? Infinity) <= (yield* Clock.currentTimeMillis)) {
            return yield* new InvalidRequest({ message: "expires_at: lies in the past", param: "expires_at" })
          }
          return yield* Effect.flatMap(
            record(keys.create({ ...settings, name: payload.name }), (made) => ({
              action: "key.create",
              target: made.key.id,
              after: auditNew(made)
            })),
            withSecret
          )
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("list", () =>
        Effect.gen(function*() {
          return { keys: yield* Effect.forEach(yield* keys.list, shown) }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("get", ({ params }) => keys.get(params.id).pipe(Effect.flatMap(shown), Effect.catch(ErrorEnvelope.respond)))
      .handle("change", ({ params, payload }) =>
        Effect.gen(function*() {
          const before = yield* keys.get(params.id)
          const settings = yield* Effect.fromResult(settingsOf(payload, before.budget))
          const after = yield* record(keys.change(params.id, settings, before), (after) => ({
            action: "key.change",
            target: params.id,
            before: audit(before),
            after: audit(after)
          }))
          return yield* shown(after)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("rotate", ({ params, payload }) =>
        Effect.gen(function*() {
          const before = yield* keys.get(params.id)
          return yield* Effect.flatMap(
            record(keys.rotate(params.id, (payload.grace_seconds ?? defaultGrace) * 1000), (made) => ({
              action: "key.rotate",
              target: params.id,
              before: audit(before),
              after: auditNew(made)
            })),
            withSecret
          )
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("revoke", ({ params }) =>
        Effect.gen(function*() {
          const before = yield* keys.get(params.id)
          yield* record(Effect.andThen(keys.revoke(params.id), keys.get(params.id)), (after) => ({
            action: "key.revoke",
            target: params.id,
            before: audit(before),
            after: audit(after)
          }))
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)
