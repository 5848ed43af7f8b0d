import { assert, describe, it } from "@effect/vitest"
import { makeRecordings } from "../../src/http/Recorder.ts"

const bytes = (length: number, fill = 1) => Buffer.alloc(length, fill)

describe("A recording", () => {
  it("is all that was added, in its order, from none to the bound", () => {
    const start = makeRecordings({ each: 100_000, together: 1_000_000 })
    assert.deepStrictEqual(start().whole(), Buffer.alloc(0))
    const recording = start()
    const pieces = Array.from({ length: 1000 }, (_, i) => bytes(100, i))
    for (const piece of pieces) recording.add(piece)
    assert.deepStrictEqual(recording.whole(), Buffer.concat(pieces))
  })

  it("is let go beyond its bound, for good", () => {
    const recording = makeRecordings({ each: 10, together: 1000 })()
    recording.add(bytes(10))
    assert.lengthOf(recording.whole() ?? [], 10)
    recording.add(bytes(1))
    assert.isUndefined(recording.whole())
    recording.add(bytes(1))
    assert.isUndefined(recording.whole())
  })

  it("is let go where all together would hold too much, and leaves its room to others", () => {
    const start = makeRecordings({ each: 10_000, together: 25_000 })
    const [a, b, c] = [start(), start(), start()]
    for (const recording of [a, b, c]) recording.add(bytes(10_000))
    assert.deepStrictEqual([a, b, c].map((recording) => recording.whole()?.length), [10_000, 10_000, undefined])
    a.drop()
    a.drop()
    c.drop()
    const [d, e] = [start(), start()]
    for (const recording of [d, e]) recording.add(bytes(10_000))
    assert.deepStrictEqual([b, d, e].map((recording) => recording.whole()?.length), [10_000, 10_000, undefined])
  })
})
