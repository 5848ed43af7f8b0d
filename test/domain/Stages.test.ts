import { assert, describe, it, vi } from "@effect/vitest"
import type { Stage } from "../../src/domain/Stages.ts"
import { inStage, waitingFor } from "../../src/domain/Stages.ts"

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Notes the turn in which each task ran. */
const noting = () => {
  const notes: Array<string> = []
  let turn = 0
  return {
    notes,
    note: (stage: Stage, name: string, then: () => void = () => {}) =>
      inStage(stage, () => {
        notes.push(`${turn} ${name}`)
        then()
      }),
    turns: async (count: number) => {
      for (; turn < count; turn++) await nextTurn()
    }
  }
}

describe("Stages", () => {
  it("run in their order, each with all its tasks, in the order in which these came", async () => {
    const { note, notes, turns } = noting()
    note("lines", "line")
    note("requests", "first request")
    note("answers", "answer")
    note("requests", "second request")
    note("commits", "commit")
    note("writes", "write")
    await turns(1)
    assert.deepStrictEqual(notes, ["0 answer", "0 write", "0 first request", "0 second request", "0 commit", "0 line"])
  })

  it("what a task brings about runs in the same turn in a later stage, and in the next one in its own or an earlier one", async () => {
    const { note, notes, turns } = noting()
    note("writes", "write", () => {
      note("commits", "later stage")
      note("writes", "own stage")
      note("answers", "earlier stage")
    })
    await turns(3)
    assert.deepStrictEqual(notes, ["0 write", "0 later stage", "1 earlier stage", "1 own stage"])
  })

  it("what a turn has done needs no other one", async () => {
    const { note, notes, turns } = noting()
    const made = vi.spyOn(globalThis, "setImmediate")
    note("answers", "answer", () => note("writes", "write"))
    await turns(2)
    const { length } = made.mock.calls
    made.mockRestore()
    assert.deepStrictEqual(notes, ["0 answer", "0 write"])
    assert.strictEqual(length, 1 + 2, "one turn, and those of this test")
  })

  it("a turn begins 16 requests, the others wait in their order; what else is due runs all the same", async () => {
    const { note, notes, turns } = noting()
    for (let i = 0; i < 40; i++) {
      note("requests", `request ${i}`, () => {
        if (i === 0) note("requests", "late request")
        if (i === 15) notes.push(`${waitingFor("requests")} wait`)
      })
      note("writes", `write ${i}`)
    }
    await turns(1)
    const begun = (from: number, to: number, turn: number) => Array.from({ length: to - from }, (_, i) => `${turn} request ${from + i}`)
    assert.deepStrictEqual(notes.splice(0), [...Array.from({ length: 40 }, (_, i) => `0 write ${i}`), ...begun(0, 16, 0), "25 wait"])
    note("commits", "commit")
    await turns(2)
    assert.deepStrictEqual(notes.splice(0), [...begun(16, 32, 1), "1 commit"])
    await turns(4)
    assert.deepStrictEqual(notes, [...begun(32, 40, 2), "2 late request"])
    assert.strictEqual(waitingFor("requests"), 0)
  })

  it("a task that throws does not take the others with it", async () => {
    const { note, notes, turns } = noting()
    const thrown: Array<unknown> = []
    const caught = new Promise<void>((resolve) => {
      const others = process.listeners("uncaughtException")
      process.removeAllListeners("uncaughtException")
      process.once("uncaughtException", (error) => {
        thrown.push(error)
        for (const other of others) process.on("uncaughtException", other)
        resolve()
      })
    })
    const bad = new Error("bad")
    note("writes", "bad", () => {
      throw bad
    })
    note("writes", "good")
    await turns(1)
    await caught
    assert.deepStrictEqual(notes, ["0 bad", "0 good"])
    assert.deepStrictEqual(thrown, [bad])
  })
})
