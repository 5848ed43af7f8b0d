import { assert, describe, it } from "@effect/vitest"
import { averageLag } from "../../src/http/Overload.ts"

const after = (lates: ReadonlyArray<number>, limitMs: number) => lates.reduce((average, late) => averageLag(average, late, limitMs), 0)

const times = (count: number, late: number): ReadonlyArray<number> => Array.from({ length: count }, () => late)

describe("the average lag of the event loop", () => {
  it("passes no limit by one pause, of whatever length", () => {
    for (const pause of [50, 200, 500]) assert.isBelow(after([pause], 100), 100, `${pause} ms`)
  })

  it("passes it by many ticks that are late, and comes back when they are on time", () => {
    const late = after(times(20, 150), 100)
    assert.isAbove(late, 100)
    assert.isBelow(times(100, 0).reduce((average, tick) => averageLag(average, tick, 100), late), 25)
  })

  it("stays below it while most ticks are on time", () => {
    assert.isBelow(after(Array.from({ length: 100 }, (_, i) => (i % 10 === 0 ? 100 : 0)), 100), 60)
  })
})
