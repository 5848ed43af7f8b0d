import { assert, beforeEach, afterEach, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { nodeOptions } from "../../scripts/node-options.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

// A project of its own with this one's packages, whose server only says what it is.
describe("`npm start`", { timeout: 60_000 }, () => {
  let project = ""

  const write = (path: string, text: string) => {
    mkdirSync(join(project, path, ".."), { recursive: true })
    writeFileSync(join(project, path), text)
  }

  const server = (version: string) =>
    write("src/main.ts", `import { word } from "./word.ts"\nconsole.log("${version}", word, import.meta.url.split("/").at(-1) as string)\nprocess.exit(7)\n`)

  const start = () => {
    const { status, stderr, stdout } = spawnSync("sh", [join(project, "scripts/run"), "--server"], {
      encoding: "utf8",
      env: { ...process.env, NODE_COMPILE_CACHE: join(project, "cache") }
    })
    return { status, said: stdout.trim(), errors: stderr }
  }

  const builtAt = () => statSync(join(project, "dist/main.js")).mtimeMs

  beforeEach(() => {
    project = mkdtempSync(join(tmpdir(), "tokenhub-run-"))
    for (const path of ["package.json", "package-lock.json", "scripts/run", "scripts/install.mjs", "scripts/build.mjs"]) cpSync(join(root, path), join(project, path))
    symlinkSync(join(root, "node_modules"), join(project, "node_modules"))
    write("src/word.ts", `export const word: string = "hello"\n`)
    write("src/route/TokenWorker.ts", "export {}\n")
    server("first")
  })
  afterEach(() => rmSync(project, { recursive: true, force: true }))

  it("runs the bundle, made at the first start and not again, and ends with the server's exit code", () => {
    assert.deepStrictEqual(start(), { status: 7, said: "first hello main.js", errors: "" })
    const made = builtAt()
    assert.deepStrictEqual(start(), { status: 7, said: "first hello main.js", errors: "" })
    assert.strictEqual(builtAt(), made)
  })

  it("gives node the options that the image gives it", () => {
    write("src/main.ts", `console.log(JSON.stringify(process.execArgv))\n`)
    assert.isNotEmpty(nodeOptions)
    assert.deepStrictEqual(JSON.parse(start().said), nodeOptions)
  })

  it("bundles anew what was changed, also by a file that is older or a part that is gone", () => {
    start()
    server("second")
    assert.strictEqual(start().said, "second hello main.js")
    write("src/word.ts", `export const word: string = "older"\n`)
    utimesSync(join(project, "src/word.ts"), 1, 1)
    assert.strictEqual(start().said, "second older main.js")
    rmSync(join(project, "dist/TokenWorker.js"))
    start()
    assert.isAbove(statSync(join(project, "dist/TokenWorker.js")).size, 0)
  })

  it("starts from the sources, and says why, where they can't be bundled", () => {
    write("dist", "not a folder")
    const { errors, said, status } = start()
    assert.deepStrictEqual([status, said], [7, "first hello main.ts"])
    assert.match(errors, /^TokenHub: starting from the sources, since they could not be bundled: .*dist.*\n$/)
  })
})
