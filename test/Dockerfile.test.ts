/**
 * The steps of the Dockerfile, carried out in empty folders on this machine: what they copy is enough, and what they leave
 * starts, is found healthy and ends as it should. What needs root or a registry is left out: packages are this project's own.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chmodSync, cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { variables } from "../src/Settings.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (path: string) => readFileSync(join(root, path), "utf8")

/** `INSTRUCTION arguments`, without comments, continued lines joined. */
const instructions = read("Dockerfile").replaceAll(/^#.*\n/gm, "").replaceAll(/\\\n\s*/g, "").trim().split(/\n+/).map((line) => {
  const [name = "", ...words] = line.split(" ")
  return { name, text: words.join(" "), words: words.filter((word) => !word.startsWith("--")), from: /--from=(\w+)/.exec(line)?.[1] }
})

/** What .dockerignore lets into the build. */
const sent = read(".dockerignore").split("\n").filter((line) => line.startsWith("!")).map((line) => line.slice(1))

const command = (text: string): ReadonlyArray<string> => JSON.parse(text.slice(text.indexOf("[")))

/** Steps that are proven elsewhere or need root. */
const left = /^(?:npm ci --omit=dev --ignore-scripts |mkdir \/data )/

describe("the Dockerfile", { timeout: 60_000 }, () => {
  const ground = mkdtempSync(join(tmpdir(), "tokenhub-image-"))
  const data = join(ground, "data-of-the-container")
  let app = ""
  let health: ReadonlyArray<string> = []
  let program: ReadonlyArray<string> = []

  beforeAll(() => {
    let stage = ""
    let folder = ""
    for (const { from, name, text, words } of instructions) {
      const at = (path: string) => (path.startsWith("/") ? join(ground, stage, path) : join(folder, path))
      switch (name) {
        case "FROM":
          stage = words[2] ?? "image"
          break
        case "WORKDIR":
          folder = join(ground, stage, text)
          mkdirSync(folder, { recursive: true })
          break
        case "COPY": {
          const given = words.at(-1) ?? ""
          const target = at(given)
          for (const source of words.slice(0, -1)) {
            if (from === undefined) assert.isTrue(sent.includes(source), `.dockerignore keeps out ${source}`)
            const base = from === undefined ? root : join(ground, from)
            for (const path of globSync(join(base, source))) cpSync(path, given.endsWith("/") ? join(target, basename(path)) : target, { recursive: true })
          }
          break
        }
        case "RUN":
          if (text.startsWith("npm ci")) symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
          else if (text.startsWith("node ")) {
            const { status, stderr } = spawnSync(process.execPath, text.split(" ").slice(1), { cwd: folder, encoding: "utf8" })
            assert.strictEqual(status, 0, stderr)
          }
          if (!text.startsWith("node ")) assert.match(text, left)
          break
        case "HEALTHCHECK":
          health = command(text)
          break
        case "CMD":
          program = command(text)
          app = folder
          break
      }
    }
  }, 60_000)
  afterAll(() => rmSync(ground, { recursive: true, force: true }))

  it("leaves nothing but runtime files in the image, none of a development package", () => {
    assert.sameMembers(readdirSync(app), ["main.js", "TokenWorker.js", "LICENSES.txt", "LICENSE", "package.json"])
    const { packages }: { readonly packages: Readonly<Record<string, { readonly dev?: boolean }>> } = JSON.parse(read("package-lock.json"))
    const bundled = [...readFileSync(join(app, "LICENSES.txt"), "utf8").matchAll(/^(\S+) \d+\.\d+\.\d+\S* \(/gm)].map(([, name]) => name)
    assert.includeMembers(bundled, ["effect", "undici", "gpt-tokenizer"])
    for (const name of bundled) assert.isUndefined(packages[`node_modules/${name}`]?.dev, name)
    assert.isUndefined(packages["node_modules/esbuild"]?.dev, "what bundles must be there without development packages")
  })

  it("starts a server that counts tokens in its thread, passes HEALTHCHECK while it lives, and honours STOPSIGNAL", async () => {
    assert.strictEqual(program[0], "node")
    const server = spawn(process.execPath, program.slice(1), {
      cwd: app,
      env: { TOKENHUB_ADMIN_PASSWORD: "correct horse battery", TOKENHUB_HOST: "127.0.0.1", TOKENHUB_PORT: "0", TOKENHUB_DB_PATH: join(data, "tokenhub.db"), TOKENHUB_VAULT_ITERATIONS: "100000" },
      stdio: ["ignore", "pipe", "inherit"]
    })
    const ended = once(server, "exit")
    try {
      let out = ""
      server.stdout.on("data", (chunk) => out += chunk)
      while (!/First answer/.test(out)) await Promise.race([once(server.stdout, "data"), ended.then(() => assert.fail(out))])
      const port = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(out)?.[1] ?? ""
      const checked = async () => {
        const check = spawn(process.execPath, health.slice(1), { env: { TOKENHUB_PORT: port }, stdio: "ignore" })
        return (await once(check, "exit"))[0]
      }
      assert.strictEqual(await checked(), 0)
      const counted = await fetch(`http://127.0.0.1:${port}/v1/messages/count_tokens`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "mock-small", messages: [{ role: "user", content: "Hello" }] })
      })
      assert.strictEqual(counted.status, 200, await counted.text())
      const stop = instructions.find(({ name }) => name === "STOPSIGNAL")?.text
      assert.strictEqual(stop, "SIGTERM")
      server.kill("SIGTERM")
      assert.deepStrictEqual(await ended, [0, null])
      assert.notInclude(out, "could not be counted")
      assert.strictEqual(await checked(), 1)
    } finally {
      server.kill("SIGKILL")
    }
  })

  // Programs of these names, in a PATH of their own, that write down how they were called.
  const enter = (uid: number) => {
    const bin = join(ground, `bin-${uid}`)
    const calls = join(bin, "calls")
    mkdirSync(bin)
    const program = (name: string, body: string) => {
      writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`)
      chmodSync(join(bin, name), 0o755)
    }
    program("id", `echo ${uid}`)
    for (const name of ["find", "setpriv", "server"]) program(name, `echo "${name} $*" >> ${calls}`)
    const entrypoint = join(ground, "image/usr/local/bin/tokenhub-entrypoint")
    const { status, stderr } = spawnSync("/bin/sh", [entrypoint, "server", "an argument"], { encoding: "utf8", env: { PATH: bin } })
    assert.strictEqual(status, 0, stderr)
    return existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []
  }

  it("enters as root only to give /data to the user node, and becomes that user for good", () => {
    const [chown, drop, ...more] = enter(0)
    assert.deepStrictEqual(more, [])
    assert.match(chown ?? "", /^find \/data ! -user node -exec chown -h node:node \{\} \+$/)
    assert.match(drop ?? "", /^setpriv --reuid=node --regid=node --init-groups --no-new-privs -- server an argument$/)
  })

  it("stays the user that it was started as, where that is another", () => {
    assert.deepStrictEqual(enter(1234), ["server an argument"])
  })

  it("has a compose file that keeps /data in ./data, and waits longer for the end than the drain may take", () => {
    const compose = read("compose.yaml")
    assert.match(compose, /^ {6}- \.\/data:\/data$/m)
    const grace = Number(/^ {4}stop_grace_period: (\d+)s$/m.exec(compose)?.[1]) * 1000
    assert.isAtLeast(grace, Number(variables.drainTimeoutMs.fallback) + 3000)
  })
})
