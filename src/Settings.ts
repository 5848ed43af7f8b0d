/** Every environment variable of TokenHub, read and checked once at start. */
import { Config, ConfigProvider, Context, Data, Effect, Layer, Option, Redacted, Result } from "effect"

/** A variable is missing or wrong; the message is the one line that stops the start. */
export class SettingsError extends Data.TaggedError("SettingsError")<{ readonly message: string }> {}

interface Variable<A> {
  readonly name: string
  /** As a text, the way a person would write it; undefined: required. */
  readonly fallback: string | undefined
  readonly allowed: string
  readonly parse: (raw: string) => A | undefined
  readonly secret?: boolean
}

const integer = (name: string, fallback: number, min: number, max: number, unit = ""): Variable<number> => ({
  name,
  fallback: String(fallback),
  allowed: `a whole number from ${min} to ${max}${unit === "" ? "" : ` (${unit})`}`,
  parse: (raw) => (/^\d{1,15}$/.test(raw) && Number(raw) >= min && Number(raw) <= max ? Number(raw) : undefined)
})

const oneOf = <const L extends string>(name: string, fallback: NoInfer<L>, values: ReadonlyArray<L>): Variable<L> => ({
  name,
  fallback,
  allowed: values.join(", "),
  parse: (raw) => values.find((value) => value === raw.toLowerCase())
})

const truth: Record<string, boolean> = { true: true, "1": true, yes: true, on: true, false: false, "0": false, no: false, off: false }

const flag = (name: string, fallback: boolean): Variable<boolean> => ({
  name,
  fallback: String(fallback),
  allowed: "true or false",
  parse: (raw) => truth[raw.toLowerCase()]
})

const plain = (name: string, fallback: string | undefined, allowed: string): Variable<string> => ({
  name,
  fallback,
  allowed,
  parse: (raw) => (raw.includes("\0") ? undefined : raw)
})

const optional = <A>(variable: Variable<A>): Variable<A | null> => ({
  ...variable,
  fallback: "",
  allowed: `${variable.allowed}, or nothing`,
  parse: (raw) => (raw === "" ? null : variable.parse(raw))
})

const secret = <A>(variable: Variable<A>): Variable<Redacted.Redacted<A>> => ({
  ...variable,
  secret: true,
  parse: (raw) => {
    const value = variable.parse(raw)
    return value === undefined ? undefined : Redacted.make(value)
  }
})

const second = 1000
const mebibyte = 1024 * 1024

/** The table of the README: one row a variable. */
export const variables = {
  adminPassword: secret(plain("TOKENHUB_ADMIN_PASSWORD", undefined, "a password of 8 to 1,024 bytes that is not a famous one")),
  host: plain("TOKENHUB_HOST", "0.0.0.0", "an address of this machine"),
  port: integer("TOKENHUB_PORT", 8080, 0, 65_535, "0 takes a free one"),
  dbPath: plain("TOKENHUB_DB_PATH", "./data/tokenhub.db", "a path"),
  debug: flag("TOKENHUB_DEBUG", false),
  logLevel: oneOf("TOKENHUB_LOG_LEVEL", "info", ["trace", "debug", "info", "warn", "error", "none"]),
  logFormat: oneOf("TOKENHUB_LOG_FORMAT", "auto", ["auto", "json", "pretty"]),
  mock: oneOf("TOKENHUB_MOCK", "auto", ["auto", "false"]),
  clientAuth: oneOf("TOKENHUB_CLIENT_AUTH", "auto", ["auto", "required", "off"]),
  metricsToken: secret(optional(plain("TOKENHUB_METRICS_TOKEN", "", "a bearer token"))),
  allowPrivateUpstreams: flag("TOKENHUB_ALLOW_PRIVATE_UPSTREAMS", false),
  vaultIterations: integer("TOKENHUB_VAULT_ITERATIONS", 600_000, 100_000, 10_000_000),
  vaultImport: optional(plain("TOKENHUB_VAULT_IMPORT", "", "a path")),
  vaultImportPassphrase: secret(optional(plain("TOKENHUB_VAULT_IMPORT_PASSPHRASE", "", "a passphrase"))),
  ledgerSync: oneOf("TOKENHUB_LEDGER_SYNC", "normal", ["normal", "full"]),
  retentionDays: integer("TOKENHUB_RETENTION_DAYS", 90, 1, 36_500, "days"),
  maxBodyBytes: integer("TOKENHUB_MAX_BODY_BYTES", 10 * mebibyte, 1024, 32 * mebibyte, "bytes"),
  connectTimeoutMs: integer("TOKENHUB_CONNECT_TIMEOUT_MS", 5 * second, 1, 600 * second, "milliseconds"),
  firstByteTimeoutMs: integer("TOKENHUB_FIRST_BYTE_TIMEOUT_MS", 30 * second, 1, 3600 * second, "milliseconds"),
  streamIdleTimeoutMs: integer("TOKENHUB_STREAM_IDLE_TIMEOUT_MS", 60 * second, 1, 3600 * second, "milliseconds"),
  wholeCallTimeoutMs: integer("TOKENHUB_WHOLE_CALL_TIMEOUT_MS", 600 * second, 1, 86_400 * second, "milliseconds"),
  wholeRunTimeoutMs: integer("TOKENHUB_WHOLE_RUN_TIMEOUT_MS", 900 * second, 1, 86_400 * second, "milliseconds"),
  upstreamBodyBytes: integer("TOKENHUB_UPSTREAM_BODY_BYTES", 32 * mebibyte, 1024, 1024 * mebibyte, "bytes"),
  providerConcurrency: integer("TOKENHUB_PROVIDER_CONCURRENCY", 256, 1, 65_536, "calls"),
  providerQueue: integer("TOKENHUB_PROVIDER_QUEUE", 512, 0, 1_048_576, "calls"),
  processConcurrency: integer("TOKENHUB_PROCESS_CONCURRENCY", 4096, 1, 65_536, "requests"),
  breakerFailures: integer("TOKENHUB_BREAKER_FAILURES", 5, 1, 1000, "consecutive failures"),
  breakerOpenMs: integer("TOKENHUB_BREAKER_OPEN_MS", 30 * second, 1, 3600 * second, "milliseconds"),
  drainTimeoutMs: integer("TOKENHUB_DRAIN_TIMEOUT_MS", 25 * second, 0, 600 * second, "milliseconds"),
  heartbeatMs: integer("TOKENHUB_HEARTBEAT_MS", 15 * second, 10, 600 * second, "milliseconds"),
  tracePrompts: flag("TOKENHUB_TRACE_PROMPTS", false),
  otlpEndpoint: optional(plain("OTEL_EXPORTER_OTLP_ENDPOINT", "", "a URL"))
} as const

type Values = {
  readonly [K in keyof typeof variables]: (typeof variables)[K] extends Variable<infer A> ? A : never
}

const read = <A>(variable: Variable<A>): Effect.Effect<A, SettingsError> =>
  Effect.gen(function*() {
    const given = yield* Config.option(Config.String(variable.name)).pipe(
      Effect.mapError(() => new SettingsError({ message: `${variable.name} can't be read; allowed: ${variable.allowed}` }))
    )
    const raw = Option.getOrUndefined(given) || variable.fallback
    if (raw === undefined) {
      return yield* new SettingsError({ message: `${variable.name} is not set; it must be ${variable.allowed}` })
    }
    const value = variable.parse(raw)
    if (value === undefined) {
      const shown = variable.secret === true ? "its value" : JSON.stringify(raw.slice(0, 80))
      return yield* new SettingsError({ message: `${variable.name}: ${shown} is wrong; allowed: ${variable.allowed}` })
    }
    return value
  })

const readAll = Effect.forEach(Object.entries(variables), ([key, variable]) =>
  Effect.map(read<unknown>(variable), (value) => [key, value] as const)).pipe(
    // The table's keys and types are the record's own.
    Effect.map((entries) => Object.fromEntries(entries) as Values)
  )

export class Settings extends Context.Service<Settings, Values & {
  /** The value of an environment variable that holds a key, or undefined; names are as in `OPENAI_API_KEY`. */
  readonly secretFromEnvironment: (name: string) => Redacted.Redacted | undefined
}>()("tokenhub/Settings") {
  /** Reads the environment; fails with the line that the person who started TokenHub should see. */
  static readonly layer: Layer.Layer<Settings, SettingsError> = Layer.effect(
    Settings,
    Effect.gen(function*() {
      const values = yield* readAll
      const provider = yield* ConfigProvider.ConfigProvider
      const secretFromEnvironment = (name: string) => {
        const found = Effect.runSync(Effect.result(Config.String(name).parse(provider)))
        return Result.isSuccess(found) && found.success !== "" ? Redacted.make(found.success) : undefined
      }
      return Settings.of({ ...values, secretFromEnvironment })
    })
  )

  /** Settings of a given environment, and nothing from the machine's. */
  static readonly layerTest = (environment: { readonly [name: string]: string } = {}) =>
    Settings.layer.pipe(
      Layer.provide(
        ConfigProvider.layer(
          ConfigProvider.fromEnvRecord({ TOKENHUB_ADMIN_PASSWORD: "correct horse battery", TOKENHUB_PORT: "0", ...environment })
        )
      )
    )
}
