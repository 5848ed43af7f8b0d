import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { readExport, writeExport } from "../../src/vault/ExportFile.ts"
import * as Aead from "../../src/vault/Aead.ts"
import { hkdf } from "../../src/vault/KeyDerivation.ts"
import type { Secrets } from "../../src/vault/Secrets.ts"

const masterKey = randomBytes(32)
const salt = randomBytes(32)
const write = (secrets: Secrets) => writeExport(masterKey, salt, 600_000, secrets)
const plain = (secrets: Secrets): ReadonlyArray<readonly [string, string]> =>
  Array.from(secrets, ([name, value]) => [name, Redacted.value(value)] as const)
const secrets = new Map([["b", Redacted.make("schlüssel 🔑")], ["a", Redacted.make("")]])
const file = write(secrets)
const bytes = Buffer.from(file.toString("latin1"), "base64")

/** What a reader makes of a file: its secrets, or the tag of the error. */
const read = (data: Uint8Array, key: Uint8Array = masterKey): ReadonlyArray<readonly [string, string]> | string =>
  Result.match(Result.flatMap(readExport(data), (sealed) => sealed.open(key)), {
    onSuccess: plain,
    onFailure: (error) => error._tag
  })

describe("export file", () => {
  it("is one line of base64 over the documented bytes", () => {
    assert.match(file.toString("latin1"), /^[A-Za-z0-9+/]+=*\n$/)
    assert.strictEqual(bytes.toString("latin1", 0, 8), "THX1\x01\x01\x01\x00")
    assert.strictEqual(bytes.readUInt32BE(8), 600_000)
    assert.deepStrictEqual(bytes.subarray(12, 45), Buffer.concat([Buffer.of(32), salt]))
    assert.strictEqual(bytes.readUInt32BE(45), 2)
    assert.isFalse(bytes.includes("schlüssel"))
  })

  it("names what its passphrase must be derived with", () => {
    const sealed = Result.getOrThrow(readExport(file))
    assert.deepStrictEqual({ salt: Buffer.from(sealed.salt), iterations: sealed.iterations }, { salt, iterations: 600_000 })
  })

  it("is read as its text, as text with broken lines, and as its bytes", () => {
    const expected = [["a", ""], ["b", "schlüssel 🔑"]] as const
    assert.deepStrictEqual(read(file), expected)
    assert.deepStrictEqual(read(Buffer.from(file.toString("latin1").replace(/(.{64})/g, "$1\r\n"))), expected)
    assert.deepStrictEqual(read(bytes), expected)
  })

  it("does not open under another passphrase", () => {
    assert.strictEqual(read(file, randomBytes(32)), "WrongPassword")
  })

  it("is refused with any single bit flipped", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const copy = Buffer.from(bytes)
      copy[bit >> 3] = copy[bit >> 3]! ^ (1 << (bit & 7))
      assert.isString(read(copy), `bit ${bit}`)
    }
  })

  it("is refused when truncated anywhere", () => {
    for (let length = 0; length < bytes.length; length++) assert.isString(read(bytes.subarray(0, length)), `${length} bytes`)
  })

  it("is refused where its contents are not what its count says, though its tag is right", () => {
    const key = hkdf(masterKey, "tokenhub/v1/export", 64)
    const sealed = (start: Uint8Array) => ({ iv: start.subarray(49, 65), ciphertext: start.subarray(65, -32), tag: start.subarray(-32) })
    const plaintext = Result.getOrThrow(Aead.open(key, sealed(bytes), bytes.subarray(0, 49)))
    const resealed = (count: number, contents: Uint8Array = plaintext) => {
      const aad = Buffer.from(bytes.subarray(0, 49))
      aad.writeUInt32BE(count, 45)
      const { ciphertext, iv, tag } = Aead.seal(key, contents, aad)
      return Buffer.concat([aad, iv, ciphertext, tag])
    }
    assert.isArray(read(resealed(2)))
    for (const count of [0, 1, 3, 0xffff_ffff]) assert.strictEqual(read(resealed(count)), "InvalidRequest", `${count}`)
    assert.strictEqual(read(resealed(2, plaintext.subarray(1))), "InvalidRequest")
    const twice = Buffer.concat([plaintext.subarray(0, 7), plaintext.subarray(0, 7)])
    assert.strictEqual(read(resealed(2, twice)), "InvalidRequest", "one name twice")
  })

  it("says what is wrong with data that is no export", () => {
    for (const data of ["", "hello", "AAAA", "{}"]) {
      const error = Result.getOrThrow(Result.flip(readExport(Buffer.from(data))))
      assert.strictEqual(error.param, "data")
      assert.match(error.message, /neither/)
    }
  })

  it("may hold nothing", () => {
    assert.deepStrictEqual(read(write(new Map())), [])
  })

  it.prop("gives back every text", [Schema.Record(Schema.String, Schema.String)], ([record]) => {
    const given = Object.entries(record).filter(([name, value]) => name.isWellFormed() && value.isWellFormed())
    const opened = read(write(new Map(given.map(([name, value]) => [name, Redacted.make(value)]))))
    assert.deepStrictEqual(new Map(opened as ReadonlyArray<readonly [string, string]>), new Map(given))
  })
})
