/** Every environment variable of TokenHub, read and checked once at start. */
import { Config, ConfigProvider, Context, Data, Effect, Layer, Option, Redacted, Result } from "effect"
import { budgetPeriods } from "./domain/Budget.ts"
import type { NanoDollars } from "./domain/Money.ts"
import { parseUsd } from "./domain/Money.ts"

/** A variable is missing or wrong; the message is the one line that stops the start. */
export class SettingsError extends Data.TaggedError("SettingsError")<{ readonly message: string }> {}

interface Variable<A> {
  readonly name: string
  /** For the README's table. */
  readonly about: string
  /** As a text, the way a person would write it; undefined: required. */
  readonly fallback: string | undefined
  readonly allowed: string
  readonly parse: (raw: string) => A | undefined
  readonly secret?: boolean
}

const integer = (name: string, about: string, fallback: number, min: number, max: number, unit = ""): Variable<number> => ({
  name,
  about,
  fallback: String(fallback),
  allowed: `a whole number from ${min} to ${max}${unit === "" ? "" : ` (${unit})`}`,
  parse: (raw) => (/^\d{1,15}$/.test(raw) && Number(raw) >= min && Number(raw) <= max ? Number(raw) : undefined)
})

const oneOf = <const L extends string>(name: string, about: string, fallback: NoInfer<L>, values: ReadonlyArray<L>): Variable<L> => ({
  name,
  about,
  fallback,
  allowed: values.join(", "),
  parse: (raw) => values.find((value) => value === raw.toLowerCase())
})

const truth: Record<string, boolean> = { true: true, "1": true, yes: true, on: true, false: false, "0": false, no: false, off: false }

const flag = (name: string, about: string, fallback: boolean): Variable<boolean> => ({
  name,
  about,
  fallback: String(fallback),
  allowed: "true or false",
  parse: (raw) => truth[raw.toLowerCase()]
})

const plain = (name: string, about: string, fallback: string | undefined, allowed: string): Variable<string> => ({
  name,
  about,
  fallback,
  allowed,
  parse: (raw) => (raw.includes("\0") ? undefined : raw)
})

const url = (name: string, about: string, fallback: string | undefined): Variable<string> => ({
  name,
  about,
  fallback,
  allowed: "an http or https URL",
  parse: (raw) => (URL.canParse(raw) && /^https?:$/.test(new URL(raw).protocol) ? raw : undefined)
})

const dollars = (name: string, about: string): Variable<NanoDollars> => ({
  name,
  about,
  fallback: undefined,
  allowed: "dollars, with at most nine decimals",
  parse: parseUsd
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
  adminPassword: secret(plain("TOKENHUB_ADMIN_PASSWORD", "opens the vault and the admin routes", undefined, "a password of 8 to 1,024 bytes that is not a famous one")),
  host: plain("TOKENHUB_HOST", "address to listen on", "0.0.0.0", "an address of this machine"),
  port: integer("TOKENHUB_PORT", "port to listen on", 8080, 0, 65_535, "0 takes a free one"),
  dbPath: plain("TOKENHUB_DB_PATH", "the SQLite database; `/data/tokenhub.db` in the image", "./data/tokenhub.db", "a path"),
  debug: flag("TOKENHUB_DEBUG", "log at level debug", false),
  logLevel: oneOf("TOKENHUB_LOG_LEVEL", "least level that is logged", "info", ["trace", "debug", "info", "warn", "error", "none"]),
  logFormat: oneOf("TOKENHUB_LOG_FORMAT", "auto: pretty on a terminal, else JSON lines; either way those below `warn` wait up to 20 ms for others", "auto", ["auto", "json", "pretty"]),
  mock: oneOf("TOKENHUB_MOCK", "auto: a first start without any provider registers the provider `mock`", "auto", ["auto", "false"]),
  clientAuth: oneOf("TOKENHUB_CLIENT_AUTH", "auto: while no client key was ever made, local callers of `/v1` need none", "auto", ["auto", "required", "off"]),
  metricsToken: secret(optional(plain("TOKENHUB_METRICS_TOKEN", "closes `/metrics` to all who do not send it", "", "a bearer token"))),
  allowPrivateUpstreams: flag("TOKENHUB_ALLOW_PRIVATE_UPSTREAMS", "providers may be on private and loopback addresses", false),
  vaultIterations: integer("TOKENHUB_VAULT_ITERATIONS", "PBKDF2 iterations of a new vault or password", 600_000, 100_000, 10_000_000),
  vaultImport: optional(plain("TOKENHUB_VAULT_IMPORT", "a vault file that the first start imports", "", "a path")),
  vaultImportPassphrase: secret(optional(plain("TOKENHUB_VAULT_IMPORT_PASSPHRASE", "what opens that file", "", "a passphrase"))),
  ledgerSync: oneOf("TOKENHUB_LEDGER_SYNC", "full: the ledger survives a power cut too, at the price of a disk wait per group", "normal", ["normal", "full"]),
  retentionDays: integer("TOKENHUB_RETENTION_DAYS", "how long rows of requests are kept; hourly sums stay", 90, 1, 36_500, "days"),
  storePromptsHours: integer("TOKENHUB_STORE_PROMPTS_HOURS", "how long prompts and answers are kept, encrypted; 0: not at all", 0, 0, 8760, "hours"),
  maxBodyBytes: integer("TOKENHUB_MAX_BODY_BYTES", "largest request body without an image or file part", 10 * mebibyte, 1024, 32 * mebibyte, "bytes"),
  connectTimeoutMs: integer("TOKENHUB_CONNECT_TIMEOUT_MS", "to connect to a provider", 5 * second, 1, 600 * second, "milliseconds"),
  firstByteTimeoutMs: integer("TOKENHUB_FIRST_BYTE_TIMEOUT_MS", "until a stream's first token; an answer in one piece gets ten times as long to begin", 30 * second, 1, 3600 * second, "milliseconds"),
  streamIdleTimeoutMs: integer("TOKENHUB_STREAM_IDLE_TIMEOUT_MS", "between two pieces of a provider's stream", 60 * second, 1, 3600 * second, "milliseconds"),
  wholeCallTimeoutMs: integer("TOKENHUB_WHOLE_CALL_TIMEOUT_MS", "for one upstream call", 600 * second, 1, 86_400 * second, "milliseconds"),
  wholeRunTimeoutMs: integer("TOKENHUB_WHOLE_RUN_TIMEOUT_MS", "for one request with all its calls", 900 * second, 1, 86_400 * second, "milliseconds"),
  upstreamBodyBytes: integer("TOKENHUB_UPSTREAM_BODY_BYTES", "largest answer of a provider", 32 * mebibyte, 1024, 1024 * mebibyte, "bytes"),
  providerConcurrency: integer("TOKENHUB_PROVIDER_CONCURRENCY", "calls to one provider at once", 256, 1, 65_536, "calls"),
  providerQueue: integer("TOKENHUB_PROVIDER_QUEUE", "calls that may wait for one provider", 512, 0, 1_048_576, "calls"),
  processConcurrency: integer("TOKENHUB_PROCESS_CONCURRENCY", "requests at once", 4096, 1, 65_536, "requests"),
  maxLoopLagMs: integer("TOKENHUB_MAX_LOOP_LAG_MS", "average lag of the event loop above which new work gets 503; 0: never", 500, 0, 60 * second, "milliseconds"),
  maxHeapPercent: integer("TOKENHUB_MAX_HEAP_PERCENT", "part of the heap's limit in use from which new work gets 503", 90, 1, 100, "percent"),
  retriesPerSecond: integer("TOKENHUB_RETRIES_PER_SECOND", "upstream calls that may follow failed ones, beside a fifth of the first ones", 10, 0, 1_000_000, "calls a second"),
  hedgeAfterMs: integer("TOKENHUB_HEDGE_AFTER_MS", "a call without a token by then gets a second one beside it, and the first to answer is taken; 0: never", 0, 0, 600 * second, "milliseconds"),
  healthCheckSeconds: integer("TOKENHUB_HEALTH_CHECK_SECONDS", "between checks of providers whose circuit is open, by their list of models; 0: none", 0, 0, 86_400, "seconds"),
  limitRpm: optional(integer("TOKENHUB_LIMIT_RPM", "requests a minute of all callers together", 0, 1, 1_000_000_000, "requests")),
  limitTpm: optional(integer("TOKENHUB_LIMIT_TPM", "tokens a minute of all callers together, prompt and completion", 0, 1, 1_000_000_000_000, "tokens")),
  budgetUsd: optional(dollars("TOKENHUB_BUDGET_USD", "the most that all callers together may spend in a period")),
  budgetPeriod: oneOf("TOKENHUB_BUDGET_PERIOD", "the period of that budget: a calendar day or month in UTC, or for good", "month", budgetPeriods),
  breakerFailures: integer("TOKENHUB_BREAKER_FAILURES", "failures in a row that open a model's circuit", 5, 1, 1000, "consecutive failures"),
  breakerOpenMs: integer("TOKENHUB_BREAKER_OPEN_MS", "how long a circuit opens first; times the number of opens, at most 5 minutes", 30 * second, 1, 3600 * second, "milliseconds"),
  drainTimeoutMs: integer("TOKENHUB_DRAIN_TIMEOUT_MS", "what running requests get after SIGTERM", 25 * second, 0, 600 * second, "milliseconds"),
  heartbeatMs: integer("TOKENHUB_HEARTBEAT_MS", "between comment lines in a silent event stream", 15 * second, 10, 600 * second, "milliseconds"),
  tracePrompts: flag("TOKENHUB_TRACE_PROMPTS", "traces may carry prompts and answers", false),
  otlpEndpoint: optional(url("OTEL_EXPORTER_OTLP_ENDPOINT", "where traces go; OpenTelemetry's other variables of this family apply too", "")),
  otlpTracesEndpoint: optional(url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the same as the full URL for traces", "")),
  otlpProtocol: oneOf("OTEL_EXPORTER_OTLP_PROTOCOL", "how traces are written", "http/protobuf", ["http/protobuf", "http/json"])
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

const ours = "TOKENHUB"

const known: ReadonlySet<string> = new Set(Object.values(variables).map(({ name }) => name))

/** Variables that are set and begin like TokenHub's, but are none of them: typing errors, for the most part. */
const strangers = (provider: ConfigProvider.ConfigProvider): Effect.Effect<ReadonlyArray<string>> => {
  // The provider knows names as paths, each part between two underscores a step.
  const under = (path: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, ConfigProvider.SourceError> =>
    Effect.gen(function*() {
      const node = yield* provider.load(path)
      const here = node?.value === undefined ? [] : [path.join("_")]
      const below = node?._tag === "Record" ? yield* Effect.forEach([...node.keys], (key) => under([...path, key])) : []
      return [...here, ...below.flat()]
    })
  return under([ours]).pipe(
    Effect.map((names) => names.filter((name) => !known.has(name) && !name.endsWith("_API_KEY")).toSorted()),
    Effect.orElseSucceed(() => [])
  )
}

export class Settings extends Context.Service<Settings, Values & {
  /**
   * The value of an environment variable that holds a key, or undefined; names are as in `OPENAI_API_KEY`. White space around it
   * is no part of a key: files that secrets come from end with a line feed.
   */
  readonly secretFromEnvironment: (name: string) => Redacted.Redacted | undefined
  /** Names of variables that are set, begin with `TOKENHUB_` and mean nothing. */
  readonly ignored: ReadonlyArray<string>
}>()("tokenhub/Settings") {
  /** Reads the environment; fails with the line that the person who started TokenHub should see. */
  static readonly layer: Layer.Layer<Settings, SettingsError> = Layer.effect(
    Settings,
    Effect.gen(function*() {
      const values = yield* readAll
      const provider = yield* ConfigProvider.ConfigProvider
      const secretFromEnvironment = (name: string) => {
        const found = Effect.runSync(Effect.result(Config.String(name).parse(provider)))
        const key = Result.isSuccess(found) ? found.success.trim() : ""
        return key === "" ? undefined : Redacted.make(key)
      }
      return Settings.of({ ...values, secretFromEnvironment, ignored: yield* strangers(provider) })
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
