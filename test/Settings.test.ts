import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted, Result } from "effect"
import { Settings, variables } from "../src/Settings.ts"

const settings = (environment: { readonly [name: string]: string }) =>
  Effect.provide(
    Effect.gen(function*() {
      return yield* Settings
    }),
    Settings.layer.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(environment))))
  )

const password = { TOKENHUB_ADMIN_PASSWORD: "correct horse battery" }

describe("Settings", () => {
  it.effect("have the documented defaults", () =>
    Effect.gen(function*() {
      const { adminPassword, dbPath, host, otlpEndpoint, port, vaultIterations } = yield* settings(password)
      assert.deepStrictEqual([host, port, dbPath, vaultIterations, otlpEndpoint], ["0.0.0.0", 8080, "./data/tokenhub.db", 600_000, null])
      assert.strictEqual(Redacted.value(adminPassword), "correct horse battery")
    }))

  it.effect("have the limits that the fault table speaks of, unless they are told others", () =>
    Effect.gen(function*() {
      const limits = yield* settings(password)
      const [second, mebibyte] = [1000, 1024 * 1024]
      const expected: Partial<typeof limits> = {
        connectTimeoutMs: 5 * second,
        firstByteTimeoutMs: 30 * second,
        streamIdleTimeoutMs: 60 * second,
        wholeCallTimeoutMs: 600 * second,
        wholeRunTimeoutMs: 900 * second,
        upstreamBodyBytes: 32 * mebibyte,
        maxBodyBytes: 10 * mebibyte,
        providerConcurrency: 256,
        providerQueue: 512,
        processConcurrency: 4096,
        breakerFailures: 5,
        breakerOpenMs: 30 * second,
        drainTimeoutMs: 25 * second,
        heartbeatMs: 15 * second,
        maxHeapPercent: 90,
        retriesPerSecond: 10,
        hedgeAfterMs: 0,
        healthCheckSeconds: 0,
        storePromptsHours: 0,
        tracePrompts: false,
        allowPrivateUpstreams: false
      }
      assert.deepInclude(limits, expected)
    }))

  it.effect("name the missing variable in one line", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(settings({}))
      assert.match(error.message, /^TOKENHUB_ADMIN_PASSWORD is not set; it must be .*$/)
    }))

  it.effect.each<readonly [name: string, value: string, allowed: string]>([
    ["TOKENHUB_PORT", "eighty", "65535"],
    ["TOKENHUB_PORT", "65536", "65535"],
    ["TOKENHUB_PORT", "-1", "65535"],
    ["TOKENHUB_PORT", "80.5", "65535"],
    ["TOKENHUB_DEBUG", "maybe", "true or false"],
    ["TOKENHUB_LOG_LEVEL", "loud", "trace, debug, info"],
    ["TOKENHUB_CLIENT_AUTH", "none", "auto, required, off"],
    ["TOKENHUB_VAULT_ITERATIONS", "99999", "100000"],
    ["TOKENHUB_VAULT_ITERATIONS", "10000001", "10000000"],
    ["TOKENHUB_RETENTION_DAYS", "0", "1"],
    ["TOKENHUB_LIMIT_RPM", "0", "1"],
    ["TOKENHUB_BUDGET_USD", "-5", "dollars"],
    ["TOKENHUB_BUDGET_USD", "1e3", "dollars"],
    ["TOKENHUB_BUDGET_PERIOD", "week", "day, month, total"]
  ])("refuse %s=%s and say what is allowed", ([name, value, allowed]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(settings({ ...password, [name]: value }))
      assert.include(error.message, name)
      assert.include(error.message, JSON.stringify(value))
      assert.include(error.message, allowed)
      assert.notInclude(error.message, "\n")
    }))

  /** Texts that say what they like; what is wrong with one shows where it is used. */
  const free = ["TOKENHUB_ADMIN_PASSWORD", "TOKENHUB_HOST", "TOKENHUB_DB_PATH", "TOKENHUB_METRICS_TOKEN", "TOKENHUB_VAULT_IMPORT", "TOKENHUB_VAULT_IMPORT_PASSPHRASE"]

  it.effect("refuse nonsense in every other variable, naming it, the value and what is allowed, in one line", () =>
    Effect.forEach(Object.values(variables), ({ allowed, name }) =>
      Effect.gen(function*() {
        const result = yield* Effect.result(settings({ ...password, [name]: "none\nsense" }))
        if (free.includes(name)) return assert.isTrue(Result.isSuccess(result), name)
        const { message } = Result.getOrThrow(Result.flip(result))
        assert.strictEqual(message, `${name}: "none\\nsense" is wrong; allowed: ${allowed}`)
      }), { discard: true }))

  it.effect("take whole numbers from their least to their most, and none beyond", () =>
    Effect.forEach(Object.entries(variables), ([key, { allowed, name }]) =>
      Effect.gen(function*() {
        const [, min, max] = /^a whole number from (\d+) to (\d+)/.exec(allowed) ?? []
        if (min === undefined || max === undefined) return
        for (const good of [min, max]) {
          const read: Readonly<Record<string, unknown>> = { ...(yield* settings({ ...password, [name]: good })) }
          assert.strictEqual(read[key], Number(good), name)
        }
        for (const bad of [Number(min) - 1, Number(max) + 1, `${min}.5`, `${max}0`, "0x10", "1e3", " 1"]) {
          assert.include((yield* Effect.flip(settings({ ...password, [name]: String(bad) }))).message, name, `${name}=${bad}`)
        }
      }), { discard: true }))

  it.effect("take an empty variable for one that is not set", () =>
    Effect.gen(function*() {
      const empty = Object.fromEntries(Object.values(variables).map(({ name }) => [name, ""]))
      const { secretFromEnvironment: _1, ...given } = yield* settings({ ...empty, ...password })
      const { secretFromEnvironment: _2, ...defaults } = yield* settings(password)
      assert.deepStrictEqual(given, defaults)
    }))

  it.effect("have no limit and no budget unless they are told one", () =>
    Effect.gen(function*() {
      const none = yield* settings(password)
      assert.deepStrictEqual([none.limitRpm, none.limitTpm, none.budgetUsd], [null, null, null])
      const some = yield* settings({ ...password, TOKENHUB_LIMIT_RPM: "60", TOKENHUB_BUDGET_USD: "12.5" })
      assert.deepStrictEqual([some.limitRpm, some.budgetUsd, some.budgetPeriod], [60, 12_500_000_000n, "month"])
    }))

  it.effect("never show a secret's value", () =>
    Effect.gen(function*() {
      const { adminPassword, secretFromEnvironment } = yield* settings({ ...password, OPENAI_API_KEY: "sk-very-secret" })
      assert.notInclude(JSON.stringify(adminPassword), "battery")
      const key = secretFromEnvironment("OPENAI_API_KEY")
      assert.notInclude(String(key), "sk-very-secret")
      assert.strictEqual(key === undefined ? undefined : Redacted.value(key), "sk-very-secret")
      assert.isUndefined(secretFromEnvironment("ANTHROPIC_API_KEY"))
    }))

  it.effect("take a key without the white space around it, and white space alone for none", () =>
    Effect.gen(function*() {
      const { secretFromEnvironment } = yield* settings({ ...password, OPENAI_API_KEY: " sk-from-a-file\r\n", GROQ_API_KEY: "\n" })
      const key = secretFromEnvironment("OPENAI_API_KEY")
      assert.strictEqual(key === undefined ? undefined : Redacted.value(key), "sk-from-a-file")
      assert.isUndefined(secretFromEnvironment("GROQ_API_KEY"))
    }))

  it.effect("find variables that look like TokenHub's and mean nothing", () =>
    Effect.gen(function*() {
      const { ignored } = yield* settings({
        ...password,
        TOKENHUB_VAULT_IMPORT: "",
        TOKENHUB_VAULT_IMPORT_PASSPHRASE: "x",
        TOKENHUB_CLIENT_AUHT: "required",
        TOKENHUB_VAULT_ITERATION: "200000",
        TOKENHUB_LAB_API_KEY: "sk-of-the-provider-tokenhub-lab",
        OTHER: "1"
      })
      assert.deepStrictEqual(ignored, ["TOKENHUB_CLIENT_AUHT", "TOKENHUB_VAULT_ITERATION"])
    }))

  it.effect("never show a secret's value, not even a wrong one", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(settings({ TOKENHUB_ADMIN_PASSWORD: "correct\0horse" }))
      assert.match(message, /^TOKENHUB_ADMIN_PASSWORD: its value is wrong; allowed: /)
      assert.notMatch(message, /correct|horse/)
    }))

  it("describe every variable", () => {
    for (const variable of Object.values(variables)) {
      assert.isAbove(variable.about.length, 5, variable.name)
      assert.isAbove(variable.allowed.length, 3, variable.name)
    }
  })
})
