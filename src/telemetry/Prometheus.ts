/** The metrics as Prometheus' text format, through OpenTelemetry's exporter; who serves it is the HTTP door's matter. */
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as Resource from "@effect/opentelemetry/Resource"
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus"
import { Context, Effect, Layer } from "effect"
import * as Metrics from "./Metrics.ts"

/** Without prefix, timestamps, resource labels, `target_info` and scope labels. */
const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)

/** OpenTelemetry gives every metric the unit "1"; the names say the units already. */
const withoutUnits = (text: string): string => text.replaceAll(/^# UNIT .*\n/gm, "")

export class Prometheus extends Context.Service<Prometheus, {
  /** All series now, in the text format 0.0.4. */
  readonly render: Effect.Effect<string>
}>()("tokenhub/Prometheus") {
  static readonly contentType = "text/plain; version=0.0.4; charset=utf-8"

  static readonly layer: Layer.Layer<Prometheus> = Layer.unwrap(Effect.gen(function*() {
    yield* Metrics.declare
    const exporter = new PrometheusExporter({ preventServerStart: true })
    const render = Effect.map(
      Effect.promise(() => exporter.collect()),
      ({ resourceMetrics }) => withoutUnits(serializer.serialize(resourceMetrics))
    )
    return Layer.merge(Layer.succeed(Prometheus, Prometheus.of({ render })), OtelMetrics.layer(() => exporter))
  })).pipe(Layer.provide(Resource.layer({ serviceName: "tokenhub" })))
}
