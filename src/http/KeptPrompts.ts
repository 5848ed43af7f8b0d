/**
 * What was asked and answered, kept where an admin switched that on: encrypted under a key of its own that lies in the vault, so
 * that neither the database's file nor a backup shows any of it, and deleting that one secret makes all of it unreadable.
 */
import { Context, Effect, Exit, Layer, Redacted, Result, Semaphore } from "effect"
import { randomBytes } from "node:crypto"
import { Prompts } from "../account/Prompts.ts"
import type { ChatRequest, Completion, Message, Part } from "../domain/Chat.ts"
import type { RequestId } from "../domain/Ids.ts"
import type { Conflict, InvalidRequest, NotFound, StoreUnavailable, VaultLocked } from "../domain/RequestError.ts"
import { VaultCorrupt } from "../domain/RequestError.ts"
import { Orchestrator } from "../orchestrate/Orchestrator.ts"
import { ivBytes, keyBytes, open, seal, tagBytes } from "../vault/Aead.ts"
import { Vault } from "../vault/Vault.ts"

/** The vault's secret under which prompts are kept. */
const promptSecret = "tokenhub/prompts"

/** Of one prompt, in characters of JSON: older messages are left out. */
const largest = 1024 * 1024

/** A conversation in its canonical form, without the bytes of pictures, files and recordings. */
export interface KeptPrompt {
  readonly messages: ReadonlyArray<unknown>
  /** Older messages that are not in it. */
  readonly left_out: number
  /** The parts of the final answer; null where there was none. */
  readonly answer: ReadonlyArray<unknown> | null
}

export class KeptPrompts extends Context.Service<KeptPrompts, {
  readonly wanted: boolean
  /** Never fails: a locked vault or a database that can't be written keeps nothing. */
  readonly keep: (id: RequestId, request: ChatRequest, answer: Completion | undefined) => Effect.Effect<void>
  readonly get: (id: string) => Effect.Effect<
    { readonly prompt: KeptPrompt; readonly expiresAt: number } | undefined,
    StoreUnavailable | VaultLocked | VaultCorrupt
  >
}>()("tokenhub/KeptPrompts") {
  static readonly layer: Layer.Layer<KeptPrompts, never, Prompts | Vault> = Layer.effect(
    KeptPrompts,
    Effect.gen(function*() {
      const prompts = yield* Prompts
      const vault = yield* Vault
      const oneMaker = yield* Semaphore.make(1)

      const stored = Effect.map(vault.get(promptSecret), (secret) => Buffer.from(Redacted.value(secret), "base64"))

      const make = Effect.suspend(() => vault.put(promptSecret, Redacted.make(randomBytes(keyBytes).toString("base64"))))

      /** The key, made with the first prompt. */
      const key: Effect.Effect<Buffer, NotFound | VaultLocked | VaultCorrupt | InvalidRequest | Conflict | StoreUnavailable> = Effect.catchTag(
        stored,
        "NotFound",
        () => oneMaker.withPermit(Effect.catchTag(stored, "NotFound", () => Effect.andThen(make, stored)))
      )

      return KeptPrompts.of({
        wanted: prompts.wanted,
        keep: (id, request, answer) =>
          Effect.flatMap(key, (key) => prompts.keep(id, sealed(key, id, promptOf(request, answer)))).pipe(
            Effect.catch((error) => Effect.logDebug("A prompt was not kept", { reason: error.message }))
          ),
        get: Effect.fnUntraced(function*(id: string) {
          const row = yield* prompts.get(id)
          if (row === undefined) return undefined
          const lost = new VaultCorrupt({ message: `The prompt of '${id}' does not open: its key was removed from the vault, or the row is damaged` })
          const key = yield* Effect.catchTag(stored, "NotFound", () => Effect.fail(lost))
          const text = yield* Effect.mapError(Effect.fromResult(opened(key, id, row.sealed)), () => lost)
          return { prompt: JSON.parse(text), expiresAt: row.expiresAt }
        })
      })
    })
  )

  /** The orchestrator, with every completion that it is asked for kept, whatever becomes of it. */
  static readonly recording: Layer.Layer<Orchestrator, never, Orchestrator | KeptPrompts> = Layer.effect(
    Orchestrator,
    Effect.gen(function*() {
      const orchestrator = yield* Orchestrator
      const { keep, wanted } = yield* KeptPrompts
      if (!wanted) return orchestrator
      return Orchestrator.of({
        ...orchestrator,
        run: (request, describe, emit) =>
          Effect.onExit(orchestrator.run(request, describe, emit), (exit) =>
            keep(request.id, request.chat, Exit.isSuccess(exit) ? exit.value.completion : undefined))
      })
    })
  )
}

const withoutBytes = (part: Part): unknown => {
  switch (part.type) {
    case "image":
    case "file":
      return part.source.type === "data" ? { ...part, source: { type: "data", mediaType: part.source.mediaType, characters: part.source.data.length } } : part
    case "audio":
      return { type: part.type, format: part.format, characters: part.data.length }
    case "tool_result":
      return { ...part, content: part.content.map(withoutBytes) }
    default:
      return part
  }
}

const promptOf = ({ messages }: ChatRequest, answer: Completion | undefined): KeptPrompt => {
  const shown = messages.map((message: Message) => ({ ...message, content: message.content.map(withoutBytes) }))
  let room = largest
  const from = shown.findLastIndex((message) => (room -= JSON.stringify(message).length) < 0) + 1
  return { messages: shown.slice(from), left_out: from, answer: answer?.content.map(withoutBytes) ?? null }
}

/** What a sealed prompt is bound to: the row of another request does not open. */
const placeOf = (id: string): Buffer => Buffer.from(`tokenhub/v1/prompt/${id}`)

const sealed = (key: Buffer, id: string, prompt: KeptPrompt): Buffer => {
  const { ciphertext, iv, tag } = seal(key, Buffer.from(JSON.stringify(prompt)), placeOf(id))
  return Buffer.concat([iv, ciphertext, tag])
}

const opened = (key: Buffer, id: string, bytes: Uint8Array) => {
  const parts = { iv: bytes.subarray(0, ivBytes), ciphertext: bytes.subarray(ivBytes, -tagBytes), tag: bytes.subarray(-tagBytes) }
  return Result.map(open(key, parts, placeOf(id)), (text) => text.toString("utf8"))
}
