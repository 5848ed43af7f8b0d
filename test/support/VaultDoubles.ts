/** A vault store in memory, and a key derivation without the work. */
import { Effect, Layer, Redacted } from "effect"
import { createHash } from "node:crypto"
import { StoreError } from "../../src/store/StoreError.ts"
import { type VaultImage, VaultStore } from "../../src/store/VaultStore.ts"
import { KeyDerivation } from "../../src/vault/KeyDerivation.ts"
import { applyChange } from "../../src/vault/OpenVault.ts"

export interface MemoryVaultStore {
  /** What lies in the database; a test may change it behind the vault's back. */
  image: VaultImage | undefined
  /** The next commit fails with this instead. */
  fault: StoreError | undefined
  /** Every load fails with this. */
  unreadable: StoreError | undefined
  readonly layer: Layer.Layer<VaultStore>
}

const conflict = new StoreError({ kind: "conflict", message: "another writer was first" })

export const makeMemoryVaultStore = (image?: VaultImage): MemoryVaultStore => {
  const memory: MemoryVaultStore = {
    image,
    fault: undefined,
    unreadable: undefined,
    layer: Layer.sync(VaultStore, () =>
      VaultStore.of({
        load: Effect.suspend(() => (memory.unreadable === undefined ? Effect.succeed(memory.image) : Effect.fail(memory.unreadable))),
        create: (change) =>
          Effect.suspend(() => {
            if (memory.image !== undefined) return Effect.fail(conflict)
            memory.image = applyChange(new Map(), change)
            return Effect.void
          }),
        commit: (expected, change) =>
          Effect.suspend(() => {
            const { fault } = memory
            memory.fault = undefined
            if (fault !== undefined) return Effect.fail(fault)
            if (memory.image?.generation !== expected) return Effect.fail(conflict)
            memory.image = applyChange(memory.image.records, change)
            return Effect.void
            // As with a disk, others run before the change and after it.
          }).pipe((write) => Effect.yieldNow.pipe(Effect.andThen(write), Effect.andThen(Effect.yieldNow)))
      }))
  }
  return memory
}

/** One hash instead of 600,000 rounds; as different for every password, salt and count as the real one. */
export const quickKeyDerivation = Layer.succeed(
  KeyDerivation,
  KeyDerivation.of({
    derive: (password, salt, iterations) =>
      // As with a thread, others run meanwhile.
      Effect.map(Effect.yieldNow, () =>
        createHash("sha256").update(salt).update(String(iterations)).update(Redacted.value(password).normalize("NFC")).digest())
  })
)
