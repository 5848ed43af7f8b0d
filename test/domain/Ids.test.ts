import { assert, describe, it } from "@effect/vitest"
import { makeRequestId, requestIdsFrom, ulid } from "../../src/domain/Ids.ts"

describe("Ids", () => {
  it("sort by time", () => {
    const times = [0, 1, 1_000, 1_700_000_000_000, 1_700_000_000_001, 281_474_976_710_655]
    const ids = times.map(ulid)
    assert.deepStrictEqual(ids.toSorted(), ids)
    assert.isTrue(ids.every((id) => /^[0-9A-HJKMNP-TV-Z]{26}$/.test(id)))
  })

  it("of a time and later sort after its bound, those before it before", () => {
    for (const time of [1, 1_000, 1_700_000_000_000]) {
      assert.isTrue(makeRequestId(time - 1) < requestIdsFrom(time))
      assert.isTrue(makeRequestId(time) >= requestIdsFrom(time))
    }
    assert.deepStrictEqual([-Infinity, -1, 0.5, Infinity].map(requestIdsFrom), ["req_0000000000", "req_0000000000", "req_0000000001", "req_7ZZZZZZZZZ"])
  })

  it("do not repeat within a millisecond", () => {
    assert.strictEqual(new Set(Array.from({ length: 10_000 }, () => makeRequestId(5))).size, 10_000)
  })
})
