import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { rows } from "./rows.ts"

const all = [...Array.from({ length: 71 }, (_, i) => String(i + 1)), "47a"]

const source = (file: string) => readFileSync(join(import.meta.dirname, "..", file), "utf8")

describe("the rows of FAULTS.md", () => {
  it("each stand in the table once", () => {
    assert.sameMembers(rows.map(({ row }) => row), all)
    assert.lengthOf(rows, all.length)
  })

  for (const { claims, fault, row } of rows) {
    it(`row ${row} (${fault}) is held by tests that exist`, () => {
      assert.isNotEmpty(claims)
      for (const { file, test } of claims) {
        const text = source(file)
        assert.isTrue([`"${test}"`, `\`${test}\``].some((literal) => text.includes(literal)), `${file} has no test "${test}"`)
      }
    })
  }
})
