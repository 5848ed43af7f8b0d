import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { createHmac, hkdfSync, randomBytes } from "node:crypto"
import * as Envelope from "../../src/vault/Envelope.ts"

const kek = randomBytes(64)
const root: Envelope.Root = { rk: randomBytes(64), epoch: 7, vaultId: randomBytes(16) }
const header: Envelope.Header = {
  iterations: 600_000,
  salt: randomBytes(32),
  vaultId: root.vaultId,
  epoch: root.epoch,
  generation: 0x0102_0304_0506_0708n,
  verifier: randomBytes(32)
}

const flipped = (bytes: Uint8Array, bit: number) => {
  const copy = Buffer.from(bytes)
  copy[bit >> 3] = copy[bit >> 3]! ^ (1 << (bit & 7))
  return copy
}

const refused = (opened: Result.Result<unknown, unknown>, what: string) => assert.isTrue(Result.isFailure(opened), what)

describe("header", () => {
  const bytes = Envelope.sealHeader(header, kek, root.rk)

  it("has the 233 bytes of the format", () => {
    assert.strictEqual(bytes.length, 233)
    assert.strictEqual(bytes.toString("latin1", 0, 8), "THV1\x01\x01\x01\x00")
    assert.strictEqual(bytes.readUInt32BE(8), 600_000)
    assert.strictEqual(bytes[12], 32)
    assert.deepStrictEqual(bytes.subarray(13, 45), header.salt)
    assert.deepStrictEqual(bytes.subarray(45, 61), header.vaultId)
    assert.strictEqual(bytes.readUInt32BE(61), 7)
    assert.strictEqual(bytes.toString("hex", 65, 73), "0102030405060708")
    assert.deepStrictEqual(bytes.subarray(73, 105), header.verifier)
  })

  it("gives back its fields, and the root key to the right key only", () => {
    assert.deepStrictEqual(Result.getOrThrow(Envelope.decodeHeader(bytes)), header)
    assert.deepStrictEqual(Result.getOrThrow(Envelope.openHeader(bytes, kek)), root.rk)
    refused(Envelope.openHeader(bytes, randomBytes(64)), "another key")
  })

  it("wraps the root key under a fresh IV each time", () => {
    assert.notDeepEqual(Envelope.sealHeader(header, kek, root.rk).subarray(105, 121), bytes.subarray(105, 121))
  })

  it("is refused with any single bit flipped", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) refused(Envelope.openHeader(flipped(bytes, bit), kek), `bit ${bit}`)
  })

  it("is refused when truncated anywhere or longer than it is", () => {
    for (let length = 0; length < bytes.length; length++) {
      refused(Envelope.openHeader(bytes.subarray(0, length), kek), `${length} bytes`)
      refused(Envelope.decodeHeader(bytes.subarray(0, length)), `${length} bytes`)
    }
    refused(Envelope.openHeader(Buffer.concat([bytes, Buffer.of(0)]), kek), "longer")
  })
})

describe("secret record", () => {
  const value = Buffer.from("sk-a key of more than one block")
  const record = Envelope.sealSecret(root, "provider/openai", 3, value)

  it("has the 196 + n bytes of the format", () => {
    assert.strictEqual(record.length, 196 + 32)
    assert.strictEqual(record.toString("latin1", 0, 8), "THS1\x01\x01\x00\x00")
    assert.strictEqual(record.readUInt32BE(8), 7)
    assert.strictEqual(record.readUInt32BE(12), 3)
    assert.strictEqual(record.readUInt32BE(160), 32)
    assert.strictEqual(Envelope.secretVersion(record), 3)
  })

  it("is refused with any single bit flipped", () => {
    for (let bit = 0; bit < record.length * 8; bit++) {
      refused(Envelope.openSecret(root, "provider/openai", flipped(record, bit)), `bit ${bit}`)
    }
  })

  it("is refused when truncated anywhere or longer than it is", () => {
    for (let length = 0; length < record.length; length++) {
      refused(Envelope.openSecret(root, "provider/openai", record.subarray(0, length)), `${length} bytes`)
    }
    refused(Envelope.openSecret(root, "provider/openai", Buffer.concat([record, Buffer.of(0)])), "longer")
  })

  it("does not open under another name, version, vault or root key", () => {
    const version4 = Buffer.from(record)
    version4.writeUInt32BE(4, 12)
    refused(Envelope.openSecret(root, "provider/openai2", record), "name")
    refused(Envelope.openSecret(root, "provider/openai", version4), "version")
    refused(Envelope.openSecret({ ...root, vaultId: randomBytes(16) }, "provider/openai", record), "vault")
    refused(Envelope.openSecret({ ...root, rk: randomBytes(64) }, "provider/openai", record), "root key")
    assert.deepStrictEqual(Result.getOrThrow(Envelope.openSecret(root, "provider/openai", record)), value)
  })

  it("does not open with the key of one record and the value of another", () => {
    const other = Envelope.sealSecret(root, "provider/openai", 3, value)
    refused(Envelope.openSecret(root, "provider/openai", Buffer.concat([record.subarray(0, 144), other.subarray(144)])), "mixed")
  })

  it("opens under either form of a name", () => {
    const accented = Envelope.sealSecret(root, "caf\u00e9", 1, value)
    assert.deepStrictEqual(Result.getOrThrow(Envelope.openSecret(root, "cafe\u0301", accented)), value)
  })

  it.prop("gives back any text under any name, empty ones too", [Schema.String, Schema.String], ([name, text]) => {
    const bytes = Buffer.from(text)
    const sealed = Envelope.sealSecret(root, name, 1, bytes)
    assert.strictEqual(sealed.length, 196 + Math.floor(bytes.length / 16) * 16 + 16)
    assert.deepStrictEqual(Result.getOrThrow(Envelope.openSecret(root, name, sealed)), bytes)
  })

  it("carries a value of 64 KiB", () => {
    const large = randomBytes(Envelope.maxValueBytes)
    const sealed = Envelope.sealSecret(root, "large", 1, large)
    assert.strictEqual(sealed.readUInt32BE(160), 65_552)
    assert.isTrue(Result.getOrThrow(Envelope.openSecret(root, "large", sealed)).equals(large))
    refused(Envelope.openSecret(root, "large", Envelope.sealSecret(root, "large", 1, randomBytes(65_552))), "longer")
  })

  it("moves to another root key, and opens under that one only", () => {
    const next: Envelope.Root = { ...root, rk: randomBytes(64), epoch: 8 }
    const moved = Result.getOrThrow(Envelope.rewrapSecret(root, next, "provider/openai", record))
    assert.strictEqual(moved.readUInt32BE(8), 8)
    assert.strictEqual(Envelope.secretVersion(moved), 3)
    assert.deepStrictEqual(Result.getOrThrow(Envelope.openSecret(next, "provider/openai", moved)), value)
    refused(Envelope.openSecret(root, "provider/openai", moved), "the old root key")
    refused(Envelope.rewrapSecret(next, root, "provider/openai", record), "a record of another root key")
  })
})

describe("manifest", () => {
  const record = (name: string, version: number) => [name, Envelope.sealSecret(root, name, version, Buffer.from(name))] as const
  // U+FF5E sorts before U+1F511 by bytes, and after it by UTF-16 units.
  const records = new Map([record("\u{1F511}", 9), record("b", 1), record("\uFF5E", 2), record("a", 5)])
  const manifest = Envelope.manifest(root.rk, 5n, records)

  it("is the HMAC over generation, names by their bytes, versions and last tags", () => {
    const key = Buffer.from(hkdfSync("sha256", root.rk, Buffer.alloc(0), "tokenhub/v1/manifest", 32))
    const hmac = createHmac("sha256", key).update(Buffer.from("0000000000000005", "hex"))
    for (const name of ["a", "b", "\uFF5E", "\u{1F511}"]) {
      const row = records.get(name)!
      const length = Buffer.from([0, Buffer.byteLength(name)])
      hmac.update(Buffer.concat([length, Buffer.from(name), row.subarray(12, 16), row.subarray(row.length - 32)]))
    }
    assert.deepStrictEqual(manifest, hmac.digest())
  })

  it("holds for exactly these rows of this generation", () => {
    const holds = (rows: ReadonlyMap<string, Uint8Array>, generation = 5n) => Envelope.manifestHolds(manifest, root.rk, generation, rows)
    assert.isTrue(holds(records))
    assert.isTrue(holds(new Map(Array.from(records).toReversed())))
    assert.isFalse(holds(records, 4n))
    assert.isFalse(holds(new Map(Array.from(records).slice(1))), "a row is missing")
    assert.isFalse(holds(new Map([...records, record("c", 1)])), "a row is extra")
    assert.isFalse(holds(new Map([...records, record("a", 4)])), "a row is older")
    assert.isFalse(holds(new Map([...records, record("a", 5)])), "a row is another of the same version")
    assert.isFalse(Envelope.manifestHolds(manifest.subarray(1), root.rk, 5n, records))
    assert.isFalse(Envelope.manifestHolds(manifest, randomBytes(64), 5n, records))
  })
})
