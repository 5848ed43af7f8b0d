/**
 * A vault and an export that another implementation of the format made: Python's hashlib and cryptography, from the tables alone,
 * with fixed bytes in place of random ones. What opens them here will open them in every later version.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Settings } from "../../src/Settings.ts"
import type { VaultImage } from "../../src/store/VaultStore.ts"
import { KeyDerivation } from "../../src/vault/KeyDerivation.ts"
import { Vault } from "../../src/vault/Vault.ts"
import { makeMemoryVaultStore } from "../support/VaultDoubles.ts"

const bytes = (...hex: ReadonlyArray<string>) => Buffer.from(hex.join(""), "hex")

/** Of 100,000 iterations, root key epoch 2, generation 9. */
const image: VaultImage = {
  header: bytes(
    "5448563101010100000186a02065c7df7043958a926270dca4bf17f29c8ecb6e2a5dd08ecb331df85a5b4d501d557892956aa6bd799e36f71ac791e7c00000000",
    "2000000000000000906487ab952ac657698b50046d916452b80dd5f6ea55ad0e8f50dafb7a0ed44e3c2c9b0c307111800d3554c22dabca3995fa080c4b68b3836",
    "02dbf33b9c42cfe3bbadcde4103f310a9e532f1ad5641bdf5e89f1ca48e3b373258d2809feb7c6a4c7be98e2d57126d108599a0b01003c673962c38a383ef8869",
    "a4399509fe82db051db432ab89cd326228eef598a0cb33be686682740f6d6a516275a516a114697"
  ),
  manifest: bytes("3bddf551e31dbbfe2dcac63dcf0bfff47c024b4cd23071ed41bd4b709490d3b5"),
  generation: 9n,
  records: new Map([
    ["provider/openai", bytes(
      "54485331010100000000000200000003b9a196c026f985f99ba2fb8d6b2c63a92902e46d0600da2577198fb0a21ee73161e0e693ab0787d51f85c8894217a45a42",
      "b9c8875191c4316a78ac0b03bf5768258724675e71460d184140650ca3a79723f0ce724ebdd1af20ce20ab7ae204acfb7dec9decd018dc91e89fe853b8a86017b1",
      "26c788c88c7ee378484a583f41d6f4d1d33eb7eca6cef9b4abb3f20b44cb00000020e129ca94739df6948d49501880fc993d2a95929de8c38d00f09bc3fada6475",
      "26ee4646caf32b0768d375f39118e2e46467bc914e22bbd7f18c1b8d319070df26"
    )],
    ["café", bytes(
      "54485331010100000000000200000001371bd3188b7512dc7c1b23a16c6ac4f92f536bb77d05ad339d6564cb251123215bef19d6894acd84a7d05dc2bcdb1b9f02",
      "26ef5ae4e8c9a0949eaf5d3e276d5f33ba7bcc0aaca635fd11b6656b053fa18ddd72c6bb2595538bd9d4684dc4620850fba6543d53647446996a1d66e55860fc34",
      "f0455f943b2d05ac1795e713e189a848c126b6d31aa546b1c8901a97742d00000010730114542c6cce5723dab6069818fb9f603f6bd68332a1930c415884ac97c0",
      "3f16098c5971703be209c2c6d75f06cf5e"
    )]
  ])
}

const exported =
  "VEhYMQEBAQAAAYagIIoF+cSp3L7AHK+qkhmfAcmDRyAMZH/nqc/kiKMT8UkJAAAAAgexwENypLR3y53wbK+YkdYRr1oyTRjluJaUYGi9MLG13lyrEUrfqgGiCIP0gdNN" +
  "8rKasGJS6R2V3WDiIXDjbnIJUZYRN48n/ONDXmWhJCN8"

const opened = <A, E>(use: (vault: Vault["Service"]) => Effect.Effect<A, E>) =>
  Effect.flatMap(Vault, use).pipe(Effect.provide(Layer.fresh(Vault.layer).pipe(Layer.provide([
    makeMemoryVaultStore(image).layer,
    KeyDerivation.layer,
    Settings.layerTest({ TOKENHUB_ADMIN_PASSWORD: "prüfung des tresors \u{1F511}" })
  ]))))

const text = (vault: Vault["Service"], name: string) => Effect.map(vault.get(name), Redacted.value)

describe("the format", () => {
  it.effect("of the vault is the documented one: another implementation's opens, whole", () =>
    opened((vault) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* vault.status, {
          state: "unlocked", generation: 9n, secrets: ["café", "provider/openai"], iterations: 100_000, corrupt: []
        })
        assert.strictEqual(yield* text(vault, "provider/openai"), "sk-golden-0123456789")
        assert.strictEqual(yield* text(vault, "café"), "")
        yield* vault.put("new", Redacted.make("secret"))
        assert.deepStrictEqual((yield* vault.status).corrupt, [])
      })))

  it.effect("of an export is the documented one: another implementation's is imported, whole", () =>
    opened((vault) =>
      Effect.gen(function*() {
        const counts = yield* vault.import({ passphrase: Redacted.make("a golden passphrase"), data: Buffer.from(exported), dryRun: false })
        assert.deepStrictEqual(counts, { added: 2, replaced: 0, unchanged: 0 })
        assert.deepStrictEqual([yield* text(vault, "a"), yield* text(vault, "b")], ["schlüssel", "two"])
      })))
})
