/** Logs and traces of the whole process. Metrics have their own modules. */
import { Cause, ConfigProvider, Effect, Exit, Layer, Logger, References, Tracer } from "effect"
import type { LogLevel } from "effect"
import { FetchHttpClient } from "effect/http"
import { OtlpSerialization, OtlpTracer } from "effect/observability"
import { Settings, SettingsError } from "../Settings.ts"
import * as Logs from "./Logs.ts"
import { scrub } from "./Redaction.ts"

type SettingsValues = Settings["Service"]

const levels: Record<SettingsValues["logLevel"], LogLevel.LogLevel> = {
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  none: "None"
}

const levelOf = ({ debug, logLevel }: SettingsValues): LogLevel.LogLevel =>
  debug && logLevel !== "trace" ? "Debug" : levels[logLevel]

const loggerOf = ({ logFormat }: SettingsValues) =>
  logFormat === "pretty" || (logFormat === "auto" && process.stdout.isTTY) ? Logs.pretty : Logs.json

/** An error as a span may show it: its tag or name alone, since messages of upstreams quote prompts. */
const bare = (error: unknown): Error => {
  const known = error instanceof Error ? error : undefined
  const name = known === undefined ? "Error" : "_tag" in known ? String(known._tag) : known.name
  return Object.assign(new Error(name), { name, stack: name })
}

const withoutTexts = (exit: Exit.Exit<unknown, unknown>): Exit.Exit<unknown, unknown> =>
  Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? exit : Exit.fail(bare(Cause.squash(exit.cause)))

/** What callers write as they like, keys in the wrong place too: headers (the server's address is their `Host`), and the address beyond its route. */
const strangersWords = /^(?:http\.(?:request|response)\.header\.|url\.(?:full|path|query)$|user_agent\.|server\.(?:address|port)$)/

/** A tracer whose spans show nothing that a caller put in headers or the address and, unless prompts are traced, no texts of errors. */
const discreet = (tracer: Tracer.Tracer, tracePrompts: boolean): Tracer.Tracer =>
  Tracer.make({
    ...tracer,
    span: (options) => {
      const span = tracer.span(options)
      const attribute = span.attribute.bind(span)
      span.attribute = (key, value) => {
        if (!strangersWords.test(key)) attribute(key, value)
      }
      if (tracePrompts) return span
      const end = span.end.bind(span)
      span.end = (endTime, exit) => end(endTime, withoutTexts(exit))
      return span
    }
  })

/** Spans leave by OTLP over HTTP where an endpoint is set, by the rules of the `OTEL_…` variables; else none are made. */
const traces = (settings: SettingsValues): Layer.Layer<never, SettingsError> => {
  if (settings.otlpEndpoint === null && settings.otlpTracesEndpoint === null) {
    return Layer.succeed(References.TracerEnabled, false)
  }
  const defaults = ConfigProvider.fromEnvRecord({
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_SERVICE_NAME: "tokenhub",
    ...(settings.otlpEndpoint === null ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: settings.otlpEndpoint }),
    ...(settings.otlpTracesEndpoint === null ? {} : { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: settings.otlpTracesEndpoint })
  })
  const exporter = OtlpTracer.layerFromConfig().pipe(
    Layer.provide(settings.otlpProtocol === "http/json" ? OtlpSerialization.layerJson : OtlpSerialization.layerProtobuf),
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(ConfigProvider.layerAdd(defaults)),
    Layer.catchCause((cause) => {
      const fault = scrub(String(Cause.squash(cause))).replaceAll(/\s+/g, " ")
      return Layer.effectDiscard(new SettingsError({ message: `An OTEL_ variable is wrong: ${fault}` }))
    })
  )
  return Layer.effect(Tracer.Tracer, Effect.map(Tracer.Tracer, (tracer) => discreet(tracer, settings.tracePrompts))).pipe(Layer.provide(exporter))
}

/** Loggers, log level and, where an OTLP endpoint is set, the tracer. */
export const layer: Layer.Layer<never, SettingsError, Settings> = Layer.unwrap(
  Effect.map(Settings, (settings) =>
    Layer.mergeAll(
      Logger.layer([loggerOf(settings)]),
      Layer.succeed(References.MinimumLogLevel, levelOf(settings)),
      traces(settings)
    ))
)
