import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { generatedClients } from "../../scripts/docs.ts"
import { clientNames, limitOf, limits } from "./Table.ts"

const here = import.meta.dirname

describe("docs/CLIENTS.md", () => {
  it("has the tables as `npm run docs` writes them", () => {
    const page = readFileSync(join(here, "../../docs/CLIENTS.md"), "utf8")
    assert.strictEqual(generatedClients(page), page)
  })

  it("tells of clients that are tried, and of no others", () => {
    const tried = readdirSync(here)
      .filter((file) => file.endsWith(".test.ts"))
      .flatMap((file) => /^matrix\("(\w+)", \1\)$/m.exec(readFileSync(join(here, file), "utf8"))?.[1] ?? [])
    assert.deepStrictEqual(tried.toSorted(), clientNames.toSorted())
  })

  it("gives each limit cells of its own", () => {
    for (const limit of limits) {
      assert.isNotEmpty(limit.params)
      for (const client of clientNames.filter((client) => limit.params[client] !== undefined)) {
        assert.strictEqual(limitOf({ ...limit, client })?.limit, limit)
      }
    }
  })
})
