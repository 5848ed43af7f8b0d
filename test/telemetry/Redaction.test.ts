import { assert, describe, it } from "@effect/vitest"
import { generate } from "../../src/account/ClientKeyFormat.ts"
import { scrub } from "../../src/telemetry/Redaction.ts"

describe("Texts that leave the process", () => {
  it.each([
    generate(),
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-ant-api03-AbCd_efgh-ijkl",
    "gsk_abcdefghijklmnop0123",
    "xai-abcdefghijklmnop0123",
    "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
    "pplx-abcdefghijklmnop0123",
    "hf_abcdefghijklmnop0123"
  ])("do not show the key %s, wherever it stands", (key) => {
    for (const text of [key, `the key ${key} is wrong`, JSON.stringify({ key }), `key=${key}&x=1`, `Bearer ${key}`]) {
      assert.notInclude(scrub(text), key.slice(5))
    }
  })

  it("do not show the credential of an Authorization header, whatever it is", () => {
    assert.strictEqual(scrub("authorization: Bearer correct+horse=battery"), "authorization: Bearer [redacted]")
    assert.strictEqual(scrub("authorization: Basic YWRtaW46Y29ycmVjdA=="), "authorization: Basic [redacted]")
  })

  it("stay as they are where there is nothing to hide", () => {
    for (const text of ["req_01HZX", "the task-force asks for sk- and th_ prefixes", "key_01HZX", "Bearer of bad news", "basic idea"]) {
      assert.strictEqual(scrub(text), text)
    }
  })
})
