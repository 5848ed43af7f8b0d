import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { createCipheriv, createHmac, randomBytes } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { open, seal } from "../../src/vault/Aead.ts"

const hex = (text: string) => Buffer.from(text, "hex")

/** RFC 7518, appendix B.3. */
const rfc7518 = {
  key: hex(
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
  ),
  iv: hex("1af38c2dc2b96ffdd86694092341bc04"),
  aad: Buffer.from("The second principle of Auguste Kerckhoffs"),
  msg: Buffer.from(
    "A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy without inconvenience"
  ),
  ct: hex(
    "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b" +
      "36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b" +
      "be2638d09dd7a4930930806d0703b1f6"
  ),
  tag: hex("4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5")
}

const vectors = new URL("../../../shared/vectors/a256cbc_hs512_test.json", import.meta.url)

const Vectors = Schema.Struct({
  testGroups: Schema.Array(Schema.Struct({
    tests: Schema.Array(Schema.Struct({
      tcId: Schema.Int,
      key: Schema.String,
      iv: Schema.String,
      aad: Schema.String,
      msg: Schema.String,
      ct: Schema.String,
      tag: Schema.String,
      result: Schema.Literals(["valid", "invalid"])
    }))
  }))
})

describe("A256CBC-HS512", () => {
  it("seals and opens the example of RFC 7518", () => {
    const { aad, ct, iv, key, msg, tag } = rfc7518
    const sealed = seal(key, msg, aad, iv)
    assert.deepStrictEqual(Buffer.from(sealed.ciphertext), ct)
    assert.deepStrictEqual(Buffer.from(sealed.tag), tag)
    assert.deepStrictEqual(Result.getOrThrow(open(key, { iv, ciphertext: ct, tag }, aad)), msg)
  })

  it.skipIf(!existsSync(vectors))("agrees with all 94 published vectors", () => {
    const { testGroups } = Schema.decodeUnknownSync(Schema.fromJsonString(Vectors))(readFileSync(vectors, "utf8"))
    const tests = testGroups.flatMap((group) => group.tests)
    assert.strictEqual(tests.length, 94)
    for (const test of tests) {
      const [key, iv, aad, msg, ciphertext, tag] = [test.key, test.iv, test.aad, test.msg, test.ct, test.tag].map(hex) as [
        Buffer, Buffer, Buffer, Buffer, Buffer, Buffer
      ]
      const opened = Result.getOrUndefined(open(key, { iv, ciphertext, tag }, aad))
      assert.deepStrictEqual(opened, test.result === "valid" ? msg : undefined, `vector ${test.tcId}`)
      if (test.result === "valid") {
        const sealed = seal(key, msg, aad, iv)
        assert.deepStrictEqual(Buffer.concat([sealed.ciphertext, sealed.tag]), Buffer.concat([ciphertext, tag]), `vector ${test.tcId}`)
      }
    }
  })

  it.prop("opens what it sealed, under the same key and associated data only", [Schema.String, Schema.String], ([text, aad]) => {
    const key = randomBytes(64)
    const sealed = seal(key, Buffer.from(text), Buffer.from(aad))
    assert.strictEqual(Result.getOrThrow(open(key, sealed, Buffer.from(aad))).toString(), Buffer.from(text).toString())
    assert.isTrue(Result.isFailure(open(key, sealed, Buffer.from(`${aad}.`))))
    assert.isTrue(Result.isFailure(open(randomBytes(64), sealed, Buffer.from(aad))))
  })

  it("gives one and the same error for faults of length, tag and padding", () => {
    const { aad, ct, iv, key, tag } = rfc7518
    // A rightly authenticated block whose padding is wrong: only somebody who has the key can make it.
    const cipher = createCipheriv("aes-256-cbc", key.subarray(32), iv).setAutoPadding(false)
    const unpadded = Buffer.concat([cipher.update(Buffer.alloc(16)), cipher.final()])
    const bits = Buffer.alloc(8)
    bits.writeBigUInt64BE(BigInt(aad.length * 8))
    const mac = createHmac("sha512", key.subarray(0, 32)).update(aad).update(iv).update(unpadded).update(bits).digest().subarray(0, 32)
    const faults = [
      open(key, { iv, ciphertext: unpadded, tag: mac }, aad),
      open(key, { iv, ciphertext: ct, tag: Buffer.alloc(32) }, aad),
      open(key, { iv, ciphertext: ct, tag: tag.subarray(1) }, aad),
      open(key, { iv, ciphertext: ct.subarray(1), tag }, aad),
      open(key, { iv, ciphertext: Buffer.alloc(0), tag }, aad),
      open(key, { iv: iv.subarray(1), ciphertext: ct, tag }, aad),
      open(key.subarray(1), { iv, ciphertext: ct, tag }, aad)
    ].map((opened) => Result.getOrThrow(Result.flip(opened)))
    for (const fault of faults) {
      assert.strictEqual(fault._tag, "VaultIntegrityError")
      assert.strictEqual(fault.message, faults[0]?.message)
    }
  })
})
