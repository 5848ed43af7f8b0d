/** Keys from passwords and keys from keys. */
import { Context, Data, Effect, Layer, Redacted, Semaphore } from "effect"
import { createHash, hkdfSync, pbkdf2 as nodePbkdf2, randomBytes } from "node:crypto"
import { TooManyRequests } from "../domain/RequestError.ts"
import { keyBytes } from "./Aead.ts"

/** One derivation runs and five wait already. */
export class DerivationBusy extends Data.TaggedError("DerivationBusy")<{ readonly retryAfterMs: number }> {
  override readonly message = "Too many passwords are being checked at once; try again in a moment"
}

/** The iteration count is outside 100,000…10,000,000; nothing was derived. */
export class IterationsOutOfRange extends Data.TaggedError("IterationsOutOfRange")<{ readonly iterations: number }> {
  override get message(): string {
    return `${this.iterations} iterations are not between ${minIterations} and ${maxIterations}`
  }
}

const minIterations = 100_000
const maxIterations = 10_000_000
const maxWaiting = 5
const busyRetryMs = 1000

/** PBKDF2-HMAC-SHA256 (RFC 8018 §5.2) on the thread pool. Knows no bounds: `KeyDerivation` has them. */
export const pbkdf2 = (password: Uint8Array, salt: Uint8Array, iterations: number, length: number): Effect.Effect<Buffer> =>
  Effect.callback((resume) => {
    nodePbkdf2(password, salt, iterations, length, "sha256", (error, key) => {
      resume(error === null ? Effect.succeed(key) : Effect.die(error))
    })
  })

/** HKDF-SHA256 (RFC 5869) with an empty salt. */
export const hkdf = (key: Uint8Array, info: string, length: number): Buffer =>
  Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), info, length))

/** The UTF-8 bytes of a password in Unicode form C, so that every keyboard's form of it is the same password. */
export const passwordBytes = (password: Redacted.Redacted): Buffer => Buffer.from(Redacted.value(password).normalize("NFC"), "utf8")

/** What one password opens, and how it was derived. */
export interface PasswordSlot {
  /** KEK, 64 bytes: wraps the root key. */
  readonly kek: Buffer
  /** SHA-256(AV), 32 bytes: what the header keeps of the password's proof. */
  readonly verifier: Buffer
  /** 32 bytes. */
  readonly salt: Uint8Array
  readonly iterations: number
}

/** Turns passwords into master keys: one derivation at a time, five may wait, more are refused. */
export class KeyDerivation extends Context.Service<KeyDerivation, {
  /** MK, 32 bytes: PBKDF2-HMAC-SHA256(NFC(password), salt, iterations). */
  readonly derive: (
    password: Redacted.Redacted,
    salt: Uint8Array,
    iterations: number
  ) => Effect.Effect<Buffer, DerivationBusy | IterationsOutOfRange>
}>()("tokenhub/KeyDerivation") {
  static readonly layer = Layer.effect(
    KeyDerivation,
    Effect.gen(function*() {
      const semaphore = yield* Semaphore.make(1)
      let admitted = 0
      const leave = Effect.sync(() => {
        admitted -= 1
      })

      const derive = Effect.fn("KeyDerivation.derive")(function*(password: Redacted.Redacted, salt: Uint8Array, iterations: number) {
        if (!Number.isInteger(iterations) || iterations < minIterations || iterations > maxIterations) {
          return yield* new IterationsOutOfRange({ iterations })
        }
        return yield* Effect.suspend(() => {
          if (admitted > maxWaiting) return Effect.fail(new DerivationBusy({ retryAfterMs: busyRetryMs }))
          admitted += 1
          const bytes = passwordBytes(password)
          // A derivation can't be stopped on its thread: whoever gives up leaves the turn taken until it ends.
          const turn = Effect.uninterruptible(pbkdf2(bytes, salt, iterations, 32))
          const clean = Effect.sync(() => bytes.fill(0))
          return semaphore.withPermit(turn).pipe(Effect.ensuring(clean), Effect.ensuring(leave))
        })
      })

      return KeyDerivation.of({ derive })
    })
  )
}

/** The slot of a password by the salt and count that a header names. */
export const passwordSlot = Effect.fnUntraced(function*(
  derivation: KeyDerivation["Service"],
  password: Redacted.Redacted,
  { iterations, salt }: Pick<PasswordSlot, "salt" | "iterations">
): Effect.fn.Return<PasswordSlot, DerivationBusy | IterationsOutOfRange> {
  const masterKey = yield* derivation.derive(password, salt, iterations)
  const authentication = hkdf(masterKey, "tokenhub/v1/auth", 32)
  const verifier = createHash("sha256").update(authentication).digest()
  const kek = hkdf(masterKey, "tokenhub/v1/kek", keyBytes)
  authentication.fill(0)
  masterKey.fill(0)
  return { kek, verifier, salt, iterations }
})

/** A random salt of 32 bytes. */
export const freshSalt = (): Buffer => randomBytes(32)

/** The slot of a new password, under a fresh salt. */
export const freshSlot = (derivation: KeyDerivation["Service"], password: Redacted.Redacted, iterations: number) =>
  passwordSlot(derivation, password, { salt: freshSalt(), iterations }).pipe(
    // The setting that the count comes from has the same bounds.
    Effect.catchTag("IterationsOutOfRange", Effect.die)
  )

/** What a caller is told whose derivation found no room. */
export const busy = ({ message, retryAfterMs }: DerivationBusy): TooManyRequests => new TooManyRequests({ message, retryAfterMs })
