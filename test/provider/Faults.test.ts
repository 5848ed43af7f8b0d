import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { faultOfStatus, ofConnection, retryAfterMs, scrub } from "../../src/provider/Faults.ts"

const now = Date.parse("2026-11-22T12:00:00Z")

describe("retryAfterMs", () => {
  const waits: ReadonlyArray<readonly [string, number | undefined]> = [
    ["7", 7000],
    ["1.5", 1500],
    ["0", 0],
    ["-1", 0],
    ["37s", 37_000],
    ["1e9", 60_000],
    ["99999999999999999999999999", 60_000],
    ["Sun, 22 Nov 2026 12:00:10 GMT", 10_000],
    ["Sun, 22 Nov 2026 11:00:00 GMT", 0],
    ["Sun, 22 Nov 2036 12:00:00 GMT", 60_000],
    ["", undefined],
    ["soon", undefined],
    ["12 apples", undefined],
    ["NaN", undefined],
    ["Infinity", undefined],
    ["0x10", undefined],
    ["2026", 60_000],
    ["Sun, 99 Foo 2026", undefined]
  ]
  for (const [text, ms] of waits) it(`reads ${JSON.stringify(text)} as ${ms}`, () => assert.strictEqual(retryAfterMs(text, now), ms))
  it("reads no header as no wait", () => assert.isUndefined(retryAfterMs(undefined, now)))
})

describe("faultOfStatus", () => {
  it("gives a status that nobody knows a safe class", () => {
    assert.strictEqual(faultOfStatus(418), "invalid_request")
    assert.strictEqual(faultOfStatus(599), "server_error")
    assert.strictEqual(faultOfStatus(399), "redirected")
  })
})

describe("scrub", () => {
  const secret = "a+very/secret=key"
  const key = Redacted.make(secret)
  it("takes this call's key out in every spelling", () => {
    const text = `x ${secret} y ${encodeURIComponent(secret)} z ${Buffer.from(secret).toString("base64")}`
    assert.strictEqual(scrub(text, key), "x [key] y [key] z [key]")
  })
  it("takes out what looks like a key, masked ones too", () => {
    const text = "sk-proj-abcdefgh12345, sk-test-***********cdef, AIzaSyA1234567890, Bearer abc.def, gsk_0123456789"
    assert.strictEqual(scrub(text, undefined), "[key], [key], [key], [key], [key]")
  })
  it("leaves ordinary words alone", () => {
    const text = "The model `gpt-4o` does not exist; ask-me-anything is no task-based key_parameter"
    assert.strictEqual(scrub(text, key), text)
  })
  it("never hands an HTML page on, and cuts what is long", () => {
    assert.strictEqual(scrub("<!DOCTYPE html><html><body>secret</body></html>", key), "The provider answered with an HTML page")
    assert.isBelow(scrub("x".repeat(100_000), key).length, 1100)
  })
  it("makes control characters spaces", () => assert.strictEqual(scrub("a\r\nb\u0000c\u001b[31m", key), "a b c [31m"))
})

describe("ofConnection", () => {
  const failing = (code: string) => Object.assign(new Error("x"), { code })
  it("tells what surely never left from what may have", () => {
    for (const code of ["ECONNREFUSED", "ENOTFOUND", "EGRESS_REFUSED", "UND_ERR_CONNECT_TIMEOUT", "CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID"]) {
      assert.isFalse(ofConnection("p", failing(code), "request").sent, code)
    }
    for (const code of ["ECONNRESET", "UND_ERR_SOCKET", "EPIPE", ""]) assert.isTrue(ofConnection("p", failing(code), "request").sent, code)
  })
  it("never takes a failure in the answer for one before it", () => {
    assert.strictEqual(ofConnection("p", failing("ETIMEDOUT"), "stream").fault, "stream_interrupted")
    assert.strictEqual(ofConnection("p", undefined, "body").fault, "truncated_response")
  })
})
