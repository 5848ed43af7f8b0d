import { assert, describe, it } from "@effect/vitest"
import { decode, encode } from "../../src/account/KeptAnswer.ts"

const kept = {
  fingerprint: "f".repeat(64),
  answer: { requestId: "req_1", status: 200, headers: { "content-type": "text/event-stream", "x-tokenhub-model": "é" }, body: Buffer.from([0, 255, 10]) }
}

describe("A kept answer", () => {
  it("is the same after its bytes, whatever its body holds", () => {
    for (const body of [kept.answer.body, Buffer.alloc(0), Buffer.from("{}")]) {
      assert.deepStrictEqual(decode(encode({ ...kept, answer: { ...kept.answer, body } })), { ...kept, answer: { ...kept.answer, body } })
    }
  })

  it("is none where the bytes are others", () => {
    const bytes = encode(kept)
    for (const other of [Buffer.alloc(0), Buffer.alloc(3), Buffer.alloc(100), bytes.subarray(0, 40), Buffer.concat([Buffer.alloc(1), bytes])]) {
      assert.isUndefined(decode(other))
    }
    const head = Buffer.from(JSON.stringify({ fingerprint: "f", status: "200" }))
    assert.isUndefined(decode(Buffer.concat([Buffer.from([0, 0, 0, head.length]), head])))
  })
})
