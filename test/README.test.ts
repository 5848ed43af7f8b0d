import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { generated } from "../scripts/docs.ts"
import type { Mode } from "../src/orchestrate/Mode.ts"
import { Modes } from "../src/orchestrate/Mode.ts"
import { Simple } from "../src/orchestrate/modes/Simple.ts"
import * as Harness from "./support/Harness.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const readme = readFileSync(join(root, "README.md"), "utf8")

/** The shell blocks of one kind, in the README's order: "```sh tour". */
const blocks = (kind: string): ReadonlyArray<string> =>
  [...readme.matchAll(/^```sh (\w+)\n([^]*?)^```$/gm)].flatMap(([, name, code]) => (name === kind && code !== undefined ? [code] : []))

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  return typeof address === "object" && address !== null ? address.port : 0
}

const curl = spawnSync("curl", ["--version"]).status === 0

describe("README", () => {
  it("has the parts that are made from the code as `npm run docs` writes them", () => {
    assert.strictEqual(generated(readme), readme)
  })

  it.live("shows a mode that works as it stands", () =>
    Effect.gen(function*() {
      const [, code = ""] = /^```ts\n(export const SecondOpinion: Mode[^]*?)^```$/m.exec(readme) ?? []
      const file = join(yield* Harness.folder, "SecondOpinion.ts")
      writeFileSync(file, [
        `import { Effect } from ${JSON.stringify(import.meta.resolve("effect"))}`,
        `import type { Mode } from ${JSON.stringify(join(root, "src/orchestrate/Mode.ts"))}`,
        code
      ].join("\n"))
      const { SecondOpinion } = yield* Effect.promise((): Promise<{ readonly SecondOpinion: Mode }> => import(pathToFileURL(file).href))
      const hub = yield* Harness.start({ modes: Modes.layer(Simple, SecondOpinion) })
      const answer = yield* Effect.promise(() => hub.chat({ messages: [{ role: "user", content: "Hello" }], orchestration_mode: "second-opinion" }))
      assert.deepStrictEqual(answer.json.attempts?.map(({ step }: { readonly step: string }) => step), ["first", "second"], answer.text)
    }).pipe(Effect.scoped), 20_000)

  it("names `npm test` as the command that tests", () => {
    assert.deepStrictEqual(blocks("test"), ["npm test\n"])
  })

  it("shows the mode that test/Extensions.test.ts runs", () => {
    const [, shown = "none"] = /^```ts\n(export const SecondOpinion[^]*?)^```$/m.exec(readme) ?? []
    assert.include(readFileSync(join(root, "test/support/extensions/SecondOpinion.ts"), "utf8"), shown)
  })

  // The commands are run one after another, as a reader would, with other ports and another folder.
  describe.runIf(curl)("its commands", () => {
    const folder = mkdtempSync(join(tmpdir(), "tokenhub-readme-"))
    const children: Array<ChildProcess> = []
    let ports: { readonly hub: number; readonly fake: number }
    let hub: ChildProcess
    let log = ""

    const adapted = (command: string) =>
      command
        .replaceAll("8080", String(ports.hub))
        .replaceAll("9100", String(ports.fake))
        .replaceAll("npm run", `npm --prefix ${root} run`)
        .replaceAll(/data\/tokenhub\.db|secrets\.thx/g, (path) => join(folder, path.replace("data/", "")))

    const start = (command: string, ready: RegExp, env: Record<string, string> = {}) =>
      new Promise<ChildProcess>((resolve, reject) => {
        // npm takes this shell's place, so that its exit code is seen.
        const child = spawn("sh", ["-c", adapted(command).replace("npm ", "exec npm ")], { cwd: root, env: { ...process.env, ...env }, detached: true, stdio: ["ignore", "pipe", "pipe"] })
        children.push(child)
        let seen = ""
        const look = (chunk: Buffer) => {
          seen += chunk.toString()
          log += chunk.toString()
          if (ready.test(seen)) resolve(child)
        }
        child.stdout.on("data", look)
        child.stderr.on("data", look)
        child.on("exit", (code) => reject(new Error(`${command} ended with ${code}: ${seen}`)))
      })

    const startHub = (command: string) =>
      start(command, /First answer/, {
        TOKENHUB_PORT: String(ports.hub),
        TOKENHUB_DB_PATH: join(folder, "tokenhub.db"),
        TOKENHUB_VAULT_ITERATIONS: "100000",
        TOKENHUB_LOG_FORMAT: "json"
      })

    /** Ends a command as Ctrl-C does, with all that it started. */
    const stop = async (child: ChildProcess) => {
      child.removeAllListeners("exit")
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
      const ended = once(child, "exit")
      process.kill(-child.pid, "SIGINT")
      await ended
    }

    /** Runs a command to its end. An HTTP status of 400 or more is a failure: curl reads that from its own file of defaults. */
    const run = async (command: string) => {
      const child = spawn("sh", ["-e", "-c", adapted(command)], {
        cwd: folder,
        env: { ...process.env, CURL_HOME: folder },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let out = ""
      child.stdout.on("data", (chunk) => out += chunk)
      child.stderr.on("data", (chunk) => out += chunk)
      const [code] = await once(child, "close")
      assert.strictEqual(code, 0, `${command}\n${out}`)
      return out
    }

    beforeAll(async () => {
      ports = { hub: await freePort(), fake: await freePort() }
      writeFileSync(join(folder, ".curlrc"), "fail-with-body\n")
      await start("npm run fake-provider -- --port 9100", /openai http/)
      hub = await startHub(blocks("start")[0] ?? "")
    }, 60_000)

    afterAll(async () => {
      await Promise.all(children.map(stop))
      rmSync(folder, { recursive: true, force: true })
    }, 60_000)

    it("a tour with curl", async () => {
      const tour = blocks("tour")
      assert.isAbove(tour.length, 6)
      const seen: Array<string> = []
      for (const block of tour) seen.push(await run(block))
      const all = seen.join("\n")
      assert.include(all, "Provider added successfully")
      assert.include(all, "Model added successfully")
      assert.match(all, /"valid":\s*true/)
      assert.include(all, "\"initial_plan\"")
      assert.include(all, "event: run.completed")
      assert.include(all, "tokenhub_requests_total{")
      assert.notInclude(all + log, "sk-lab-key")
    }, 60_000)

    it("the smoke check", async () => {
      const [command = ""] = /npm run smoke -- \S+(?=`)/.exec(readme) ?? []
      const out = await run(command)
      assert.match(out, /^\d+ passed, 0 failed$/m)
    }, 60_000)

    it("keys, rotation, backup, export, and what was restored opens with the rotated password", async () => {
      for (const block of blocks("keys")) assert.match(await run(block), /th_[0-9A-Za-z]{36}/)
      const [restore = "", rotate = "", backup = "", start = ""] = ["restore", "rotate", "backup", "start"].flatMap(blocks)
      await run(rotate)
      await run(backup)
      assert.isAbove(statSync(join(folder, "tokenhub-backup.db")).size, 10_000)
      assert.match(await run(blocks("export")[0] ?? ""), /"unchanged":\s*1/)
      assert.strictEqual(statSync(join(folder, "secrets.thx")).mode & 0o777, 0o600)

      await stop(hub)
      assert.strictEqual(hub.exitCode, 0)
      await run(restore)
      await startHub(start.replace("choose a long one", "an even longer one"))
      assert.match(await run("curl -sS http://127.0.0.1:8080/health/ready"), /"ready":\s*true/)
      assert.match(await run("curl -sS http://127.0.0.1:8080/admin/providers/lab -H 'authorization: Bearer an even longer one'"), /"credential":\s*"vault"/)
    }, 60_000)
  })

  it("names commands that say what is in it, and what can be measured", () => {
    const output = (...args: ReadonlyArray<string>): string => {
      const { status, stderr, stdout } = spawnSync("npm", ["run", "-s", ...args], { cwd: root, encoding: "utf8" })
      assert.strictEqual(status, 0, stderr)
      return stdout
    }
    assert.strictEqual(JSON.parse(output("sbom")).bomFormat, "CycloneDX")
    assert.match(output("licences"), /^effect@\d+\.\d+\.\d+ MIT$/m)
    assert.match(output("bench", "--", "--help"), /^ +--check /m)
    assert.match(output("torture", "--", "--help"), /^kill +200 kill -9 /m)
  }, 60_000)

  it("has no command that is not run here", () => {
    const kinds = new Set([...readme.matchAll(/^```sh *(\w*)$/gm)].map(([, kind]) => kind))
    assert.sameMembers([...kinds], ["start", "test", "tour", "keys", "rotate", "backup", "restore", "export"])
    const inText = [...readme.matchAll(/`(npm [^`]+|[^`]*docker [^`]+)`/g)].map(([, command]) => command)
    assert.sameMembers([...new Set(inText)], [
      "npm start",
      // Ran this.
      "npm test",
      "npm run fake-provider -- --port 9100",
      "npm run smoke -- http://127.0.0.1:8080",
      "npm run sbom",
      "npm run licences",
      "npm run bench -- --help",
      "npm run torture -- --help",
      // Its outcome is compared above.
      "npm run docs",
      // The image's steps are run in test/Dockerfile.test.ts.
      "TOKENHUB_ADMIN_PASSWORD=… docker compose up --build",
      "docker stop"
    ])
  })
})
