import { assert, describe, it } from "@effect/vitest"
import { ownersOfLines, sharesOf } from "../../scripts/bench/profile.ts"

const bundle = ["#!/usr/bin/env node", "// node_modules/@effect/platform-node/dist/A.js", "a", "// src/store/deep/B.ts", "b", "  // src/no/path.ts", "// src/Server.ts", "c"].join("\n")

const frame = (functionName: string, url = "", lineNumber = -1) => ({ functionName, url, lineNumber })
const file = "file:///dist/main.js"

describe("the shares of a CPU profile", () => {
  it("belong to packages, folders, node and V8; native code to who called it; idle time to nobody", () => {
    const lines = ownersOfLines(bundle)
    assert.deepStrictEqual(lines, ["?", "Effect", "Effect", "src/store and SQLite", "src/store and SQLite", "src/store and SQLite", "src", "src"])
    const shares = sharesOf({
      nodes: [
        { id: 1, callFrame: frame("(root)"), children: [2, 3, 4, 7] },
        { id: 2, callFrame: frame("(idle)") },
        { id: 3, callFrame: frame("(garbage collector)") },
        { id: 4, callFrame: frame("a", file, 2), children: [5, 8] },
        { id: 5, callFrame: frame("b", file, 4), children: [6] },
        { id: 6, callFrame: frame("toString") },
        { id: 7, callFrame: frame("emit", "node:events", 10) },
        { id: 8, callFrame: frame("c", file, 7) }
      ],
      samples: [2, 3, 4, 5, 6, 7, 8, 6],
      timeDeltas: [1000, 10, 10, 10, 20, 30, 5, 15]
    }, lines)
    assert.deepStrictEqual(shares.map(({ owner, share }) => [owner, Math.round(share * 100)]), [
      ["src/store and SQLite", 45],
      ["Node's JavaScript", 30],
      ["garbage collection", 10],
      ["Effect", 10],
      ["src", 5]
    ])
  })
})
