import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { hkdfSync, randomBytes } from "node:crypto"
import * as Aead from "../../src/vault/Aead.ts"
import type { Root } from "../../src/vault/Envelope.ts"
import type { Place } from "../../src/vault/SealedBytes.ts"
import * as SealedBytes from "../../src/vault/SealedBytes.ts"

const root: Root = { rk: randomBytes(64), epoch: 7, vaultId: randomBytes(16) }
const place: Place = ["answer", "key_1", "/v1/chat", "é"]
const text = Buffer.from("Forty-two")

const refused = (root: Root, place: Place, bytes: Uint8Array, what: string) =>
  assert.isTrue(Result.isFailure(SealedBytes.open(root, place, bytes)), what)

describe("Sealed bytes", () => {
  const sealed = SealedBytes.seal(root, place, text)

  it("have the layout of the format, and a key of their own", () => {
    assert.strictEqual(sealed.length, 60 + 16)
    assert.strictEqual(sealed.toString("latin1", 0, 8), "THB1\x01\x01\x00\x00")
    assert.strictEqual(sealed.readUInt32BE(8), 7)
    const key = Buffer.from(hkdfSync("sha256", root.rk, "", "tokenhub/v1/sealed", 64))
    const aad = Buffer.concat([
      Buffer.from("out\0"),
      root.vaultId,
      ...place.flatMap((part) => [Buffer.from([0, Buffer.byteLength(part)]), Buffer.from(part)]),
      sealed.subarray(0, 12)
    ])
    const opened = Aead.open(key, { iv: sealed.subarray(12, 28), ciphertext: sealed.subarray(28, 44), tag: sealed.subarray(44) }, aad)
    assert.deepStrictEqual(Result.getOrThrow(opened), text)
  })

  it("open to what was sealed, of any length, and never lie there in clear or twice alike", () => {
    for (const bytes of [Buffer.alloc(0), text, randomBytes(16), randomBytes(1024 * 1024)]) {
      assert.isTrue(Result.getOrThrow(SealedBytes.open(root, place, SealedBytes.seal(root, place, bytes))).equals(bytes))
    }
    assert.isFalse(sealed.includes("Forty"))
    assert.isFalse(SealedBytes.seal(root, place, text).equals(sealed))
  })

  it("open nowhere else: not at another place, in another vault, or under another root key", () => {
    for (const other of [
      ["answer", "key_2", "/v1/chat", "é"],
      ["answer", "key_1", "/v1/messages", "é"],
      ["answer", "key_1/v1/chat", "é"],
      ["answer", "key_1", "/v1/cha", "té"],
      ["prompt", "key_1", "/v1/chat", "é"]
    ] as const) refused(root, other, sealed, other.join())
    refused({ ...root, vaultId: randomBytes(16) }, place, sealed, "another vault")
    refused({ ...root, rk: randomBytes(64) }, place, sealed, "another root key")
    refused({ ...root, epoch: 8 }, place, sealed, "another epoch")
  })

  it("are refused with any single bit flipped, cut anywhere, or longer than they are", () => {
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const flipped = Buffer.from(sealed)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      refused(root, place, flipped, `bit ${bit}`)
    }
    for (let length = 0; length < sealed.length; length++) refused(root, place, sealed.subarray(0, length), `${length} bytes`)
    refused(root, place, Buffer.concat([sealed, Buffer.alloc(16)]), "longer")
  })
})
