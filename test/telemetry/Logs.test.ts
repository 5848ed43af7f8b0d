import { assert, describe, it } from "@effect/vitest"
import { Cause, Console, Effect, Layer, Redacted } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { stripVTControlCharacters } from "node:util"
import { generate } from "../../src/account/ClientKeyFormat.ts"
import { Settings } from "../../src/Settings.ts"
import * as Logs from "../../src/telemetry/Logs.ts"
import * as Telemetry from "../../src/telemetry/Telemetry.ts"

/** The lines that the effect logs under these settings. */
const linesOf = (environment: { readonly [name: string]: string }, effect: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const console = { ...globalThis.console, log: (line: string) => void lines.push(line) }
    yield* effect.pipe(
      Effect.provide(Telemetry.layer.pipe(Layer.provide(Settings.layerTest(environment)))),
      Effect.provideService(Console.Console, console)
    )
    return lines
  })

const json = { TOKENHUB_LOG_FORMAT: "json" }

describe("Log lines", () => {
  it.effect("are JSON objects with the request's id and the fields that were logged", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf(json, Effect.logInfo("request", { status: 200, cost: 12n }).pipe(Logs.withRequestId("req_1")))
      assert.strictEqual(lines.length, 1)
      assert.deepInclude(JSON.parse(lines[0] ?? ""), { level: "info", message: "request", request_id: "req_1", status: 200, timestamp: "1970-01-01T00:00:00.000Z" })
      assert.notInclude(lines[0], "\n")
    }))

  it.effect("stay one valid line each, whatever is logged", () =>
    Effect.gen(function*() {
      const circular: Record<string, unknown> = { name: "circle" }
      circular["self"] = circular
      const lines = yield* linesOf(json, Effect.gen(function*() {
        yield* Effect.logInfo("two\nlines \u001b[31m\u0000", { circular, message: "not the message", undefined: undefined, map: new Map([[1, 2]]) })
        yield* Effect.logError("it failed", Cause.fail(new Error("broken \" quote")))
        yield* Effect.logInfo(new Error("alone"), 42, ["list"])
        yield* Effect.logInfo()
      }))
      const parsed = lines.map((line) => JSON.parse(line))
      assert.strictEqual(parsed.length, 4)
      assert.isTrue(lines.every((line) => !line.includes("\n") && !line.includes("\u001b")))
      assert.strictEqual(parsed[0].message, "two\nlines \u001b[31m\u0000")
      assert.include(parsed[1].cause, "broken \" quote")
      assert.include(parsed[2].message, "alone")
    }))

  it.effect("never show a secret, not even one that nobody marked as such", () =>
    Effect.gen(function*() {
      const key = generate()
      for (const format of ["json", "pretty"]) {
        const lines = yield* linesOf({ TOKENHUB_LOG_FORMAT: format }, Effect.gen(function*() {
          yield* Effect.logInfo("made", Redacted.make("hidden-thing"), { secret: Redacted.make("hidden-thing"), deep: { secret: Redacted.make("hidden-thing") } })
          yield* Effect.logWarning(`the key ${key} was refused`, { key, upstream: "sk-proj-abcdefghijklmnop" })
          yield* Effect.logError("failed", Cause.fail(new Error(`Incorrect API key provided: sk-abcdefghijklmnop, ${key}`)))
        }).pipe(Effect.annotateLogs({ key, redacted: Redacted.make("hidden-thing") })))
        assert.strictEqual(lines.length, 3)
        assert.notMatch(lines.join("\n"), new RegExp(`${key}|hidden-thing|abcdefgh`))
      }
    }))

  it.effect("are readable where that was asked for", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf({ TOKENHUB_LOG_FORMAT: "pretty" }, Effect.logWarning("listening", { port: 8080 }).pipe(Logs.withRequestId("req_1")))
      assert.deepStrictEqual(
        lines.map((line) => stripVTControlCharacters(line)),
        ["00:00:00.000 WARN  listening request_id=req_1 port=8080"]
      )
    }))

  it.effect("are readable on a terminal, and JSON elsewhere, unless told otherwise", () =>
    Effect.gen(function*() {
      const isTerminal = Object.getOwnPropertyDescriptor(process.stdout, "isTTY")
      yield* Effect.addFinalizer(() => Effect.sync(() => Object.defineProperty(process.stdout, "isTTY", isTerminal ?? { value: undefined, configurable: true })))
      const isJson = Effect.fnUntraced(function*(terminal: boolean, environment: { readonly [name: string]: string } = {}) {
        Object.defineProperty(process.stdout, "isTTY", { value: terminal, configurable: true })
        return (yield* linesOf(environment, Effect.logInfo("line")))[0]?.startsWith("{")
      })
      assert.deepStrictEqual([yield* isJson(false), yield* isJson(true), yield* isJson(true, json)], [true, false, true])
    }).pipe(Effect.scoped))

  const levels = Effect.all([Effect.logTrace("trace"), Effect.logDebug("debug"), Effect.logInfo("info"), Effect.logWarning("warn"), Effect.logError("error")], { discard: true })

  it.effect.each([
    { environment: {}, shown: ["info", "warn", "error"] },
    { environment: { TOKENHUB_LOG_LEVEL: "error" }, shown: ["error"] },
    { environment: { TOKENHUB_LOG_LEVEL: "none" }, shown: [] },
    { environment: { TOKENHUB_DEBUG: "true" }, shown: ["debug", "info", "warn", "error"] },
    { environment: { TOKENHUB_DEBUG: "true", TOKENHUB_LOG_LEVEL: "error" }, shown: ["debug", "info", "warn", "error"] },
    { environment: { TOKENHUB_LOG_LEVEL: "trace" }, shown: ["trace", "debug", "info", "warn", "error"] },
    { environment: { TOKENHUB_DEBUG: "true", TOKENHUB_LOG_LEVEL: "trace" }, shown: ["trace", "debug", "info", "warn", "error"] }
  ])("start at the level of the settings: $environment", ({ environment, shown }) =>
    Effect.gen(function*() {
      const lines = yield* linesOf({ ...json, ...environment }, levels)
      assert.deepStrictEqual(lines.map((line) => JSON.parse(line).message), shown)
    }))
})

/** A process that logs as the JavaScript says: `log("info", "message")`; its messages as they come, and all of them once it has ended. */
const logging = (program: string) => {
  const source = `
    import { Effect, Logger } from ${JSON.stringify(import.meta.resolve("effect"))}
    import * as Logs from ${JSON.stringify(new URL("../../src/telemetry/Logs.ts", import.meta.url).href)}
    const levels = { info: Effect.logInfo, warn: Effect.logWarning }
    const log = (level, message) => Effect.runSync(levels[level](message).pipe(Effect.provide(Logger.layer([Logs.json]))))
    ${program}`
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { env: { ...process.env, NODE_OPTIONS: "" }, stdio: ["pipe", "pipe", "inherit"] })
  let out = ""
  child.stdout.on("data", (chunk: Buffer) => out += chunk.toString())
  return {
    child,
    messages: () => out.split("\n").slice(0, -1).map((line): string => JSON.parse(line).message),
    ended: once(child, "close")
  }
}

describe("Log lines that gather", { timeout: 20_000 }, () => {
  it("come though nothing follows them", async () => {
    const { child, ended, messages } = logging(`log("info", "alone"); process.stdin.resume()`)
    await once(child.stdout, "data")
    assert.deepStrictEqual(messages(), ["alone"])
    child.stdin.end()
    await ended
  })

  it("are all told, in their order, when the process ends", async () => {
    const { ended, messages } = logging(`for (let i = 0; i < 1000; i++) log("info", String(i)); process.exit()`)
    await ended
    assert.deepStrictEqual(messages(), Array.from({ length: 1000 }, (_, i) => String(i)))
  })

  it("do not wait beside a warning, nor where they are many", async () => {
    const killed = `setImmediate(() => setImmediate(() => process.kill(process.pid, "SIGKILL")))`
    const warned = logging(`log("info", "before"); log("warn", "the cause"); ${killed}`)
    const many = logging(`for (let i = 0; i < 256; i++) log("info", String(i)); ${killed}`)
    await Promise.all([warned.ended, many.ended])
    assert.deepStrictEqual(warned.messages(), ["before", "the cause"])
    assert.strictEqual(many.messages().length, 256)
  })
})
