import { Clock, Effect, Redacted } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { HealthBoard } from "../../route/HealthBoard.ts"
import { Vault } from "../../vault/Vault.ts"
import { audited } from "./AdminAudit.ts"
import { fileHeaders, fingerprint } from "./AdminWire.ts"
import { BuiltApi } from "../Api.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const rotated = "The admin password was changed: change TOKENHUB_ADMIN_PASSWORD too, or the next start is locked"

/** `/admin/vault`. */
export const VaultHttp = HttpApiBuilder.group(
  BuiltApi,
  "vault",
  Effect.fnUntraced(function*(handlers) {
    const vault = yield* Vault
    const board = yield* HealthBoard
    const record = yield* audited

    /** The vault's generation after a change: with it a rollback of the whole file shows in the audit log. */
    const generation = Effect.map(vault.status, ({ generation }) => Number(generation))

    /** Carries a change of the vault out and records it with what was there before, and the generation that it led to. */
    const change = <A, E>(
      action: string,
      target: string,
      effect: Effect.Effect<A, E>,
      shown: { readonly before?: Effect.Effect<object>; readonly after?: (result: A) => object } = {}
    ) =>
      Effect.gen(function*() {
        const before = { ...(yield* shown.before ?? Effect.succeed({})), generation: yield* generation }
        const { result } = yield* record(
          Effect.flatMap(effect, (result) => Effect.map(generation, (now) => ({ result, now }))),
          ({ now, result }) => ({ action, target, before, after: { ...shown.after?.(result), generation: now } })
        )
        return result
      })

    const state = Effect.map(vault.status, ({ state }) => ({ state }))

    /** A secret's fingerprint; null where there is none, or none that can be read. */
    const print = (name: string) =>
      vault.get(name).pipe(
        Effect.map((value) => ({ fingerprint: fingerprint(Redacted.value(value)) })),
        Effect.catch(() => Effect.succeed({ fingerprint: null }))
      )

    return handlers
      .handle("status", () =>
        Effect.map(vault.status, ({ corrupt, generation, iterations, secrets, state }) => ({
          state,
          generation: Number(generation),
          secrets,
          iterations,
          corrupt
        })))
      .handle("lock", () => change("vault.lock", "vault", vault.lock, { before: state, after: () => ({ state: "locked" }) }))
      .handle("unlock", ({ payload }) =>
        change("vault.unlock", "vault", vault.unlock(payload.password), { before: state, after: () => ({ state: "unlocked" }) }).pipe(
          Effect.catch(ErrorEnvelope.respond)
        ))
      .handle("rotate", ({ payload }) => {
        const { new_password: newPassword, old_password: oldPassword, rekey = false } = payload
        return change("vault.rotate", "vault", vault.rotate({ oldPassword, newPassword, rekey }), { after: () => ({ rekey }) }).pipe(
          Effect.as(HttpServerResponse.empty({ status: 204, headers: { "x-tokenhub-notice": rotated } })),
          Effect.catch(ErrorEnvelope.respond)
        )
      })
      .handle("export", ({ payload }) =>
        Effect.gen(function*() {
          const file = yield* change("vault.export", "vault", vault.export(payload.passphrase))
          const headers = fileHeaders("tokenhub-vault", "thx", yield* Clock.currentTimeMillis)
          return HttpServerResponse.uint8Array(file, { contentType: "application/octet-stream", headers })
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("import", ({ payload }) =>
        Effect.gen(function*() {
          const { dry_run: dryRun = false, passphrase } = payload
          const given = vault.import({ passphrase, data: importBytes(payload.data), dryRun })
          const counts = yield* dryRun ? given : change("vault.import", "vault", given, { after: (counts) => counts })
          return { ...counts, dry_run: dryRun }
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("putSecret", ({ params, payload }) =>
        Effect.gen(function*() {
          const name = params.name
          yield* change("secret.put", name, vault.put(name, payload.value), {
            before: print(name),
            after: () => ({ fingerprint: fingerprint(Redacted.value(payload.value)) })
          })
          const provider = providerOf(name)
          if (provider !== undefined) yield* board.forget(provider)
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
      .handle("removeSecret", ({ params }) =>
        change("secret.remove", params.name, vault.remove(params.name), { before: print(params.name) }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

/** The provider instance whose key a secret is. */
const providerOf = (secret: string): string | undefined => /^provider\/(.+)$/s.exec(secret)?.[1]

/** How a file starts: an export's bytes, their base64, or the JSON of the Python generation. */
const isFile = (bytes: Buffer): boolean => /^(?:THX1|VEhY|\s*\{)/.test(bytes.subarray(0, 64).toString("latin1"))

/** The file's bytes, whether the field holds its text, its base64, or its JSON. */
const importBytes = (data: string | { readonly [name: string]: unknown }): Uint8Array => {
  if (typeof data !== "string") return Buffer.from(JSON.stringify(data), "utf8")
  const decoded = Buffer.from(data, "base64")
  return isFile(decoded) ? decoded : Buffer.from(data.trim(), "utf8")
}
