import { Effect, Redacted } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import type { ClientKey } from "../account/ClientKeys.ts"
import { ClientKeys } from "../account/ClientKeys.ts"
import { audited } from "./AdminAudit.ts"
import { fingerprint, iso } from "./AdminWire.ts"
import { Api } from "./Api.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"

/** `/admin/keys`. */
export const KeysHttp = HttpApiBuilder.group(
  Api,
  "keys",
  Effect.fnUntraced(function*(handlers) {
    const keys = yield* ClientKeys
    const record = yield* audited

    return handlers
      .handle("create", ({ payload }) =>
        Effect.gen(function*() {
          const { key, secret } = yield* record(keys.create({ name: payload.name }), ({ key, secret }) => ({
            action: "key.create",
            target: key.id,
            after: { ...shown(key), fingerprint: fingerprint(Redacted.value(secret)) }
          }))
          return { ...shown(key), key: Redacted.value(secret) }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("list", () => Effect.map(keys.list, (all) => ({ keys: all.map(shown) })))
      .handle("get", ({ params }) => keys.get(params.id).pipe(Effect.map(shown), Effect.catch(ErrorEnvelope.respond)))
      .handle("rename", ({ params, payload }) =>
        Effect.gen(function*() {
          const before = yield* keys.get(params.id)
          const after = yield* record(keys.rename(params.id, payload.name), (after) => ({
            action: "key.rename",
            target: params.id,
            before: shown(before),
            after: shown(after)
          }))
          return shown(after)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("revoke", ({ params }) =>
        Effect.gen(function*() {
          const before = yield* keys.get(params.id)
          yield* record(keys.revoke(params.id), () => ({ action: "key.revoke", target: params.id, before: shown(before) }))
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

const shown = ({ createdAt, id, name, prefix, revokedAt }: ClientKey) => ({
  id,
  name,
  prefix,
  created_at: iso(createdAt),
  revoked_at: revokedAt === null ? null : iso(revokedAt)
})
