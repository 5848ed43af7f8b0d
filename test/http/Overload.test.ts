import { assert, describe, it } from "@effect/vitest"
import { averageLag } from "../../src/http/Overload.ts"

const after = (ticks: ReadonlyArray<number>, limitMs: number): number => ticks.reduce((lag, lateMs) => averageLag(lag, lateMs, limitMs), 0)

describe("Overload", () => {
  it("takes one long pause for no overload", () => {
    assert.isBelow(after([30_000], 200), 400)
    assert.isBelow(after([30_000, ...Array.from({ length: 60 }, () => 0)], 200), 200)
  })

  it("sees a loop that is late again and again", () => {
    assert.isAbove(after(Array.from({ length: 20 }, () => 400), 200), 200)
  })

  it("forgets when the loop is in time again", () => {
    const lag = after([...Array.from({ length: 20 }, () => 400), ...Array.from({ length: 300 }, () => 0)], 200)
    assert.isBelow(lag, 5)
  })
})
