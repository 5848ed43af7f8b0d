/** What any `/v1` request may ask of TokenHub itself: the `tokenhub` object, and the same as headers and in virtual models' names. */
import { Schema } from "effect"

/** A field that may be absent or null, which mean the same. */
const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

const dollars = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))
const wholeFrom = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

/** More rounds of refinement are a mistake. */
export const mostRefinements = 10

export const Policy = Schema.Struct({
  max_cost_per_1k_tokens: optional(described(dollars, "Dollars; 0 means free models only")),
  min_context_size: optional(wholeFrom(0)),
  prefer_higher_weight: optional(described(Schema.Boolean, "Default true; false: the lowest cost first")),
  allow_escalation: optional(described(Schema.Boolean, "Default true"))
}).annotate({ identifier: "RoutingPolicy" })

/** The `tokenhub` object; it never reaches an upstream. */
export const Options = Schema.Struct({
  mode: optional(Schema.String),
  policy: optional(Policy),
  planner: optional(Schema.String),
  critic: optional(Schema.String),
  refinements: optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: mostRefinements }))),
  deadline_ms: optional(described(wholeFrom(1), "Milliseconds that the run may take")),
  max_cost_usd: optional(described(dollars, "Dollars that the run may cost; a call that could cost more than what is left of them is not made")),
  events: optional(described(Schema.Boolean, "Streams tell the steps of the mode: as reasoning where the protocol has it, else as comments")),
  drop_unsupported: optional(described(Schema.Boolean, "What a provider can't do is left out; default false: the request is refused"))
}).annotate({ identifier: "TokenHubOptions" })
export type Options = typeof Options.Type

/** An option as text: where it stands in the `tokenhub` object, and of which type it is. */
interface TextOption {
  readonly path: readonly [keyof Options] | readonly ["policy", keyof typeof Policy.Type]
  readonly type: "text" | "number" | "boolean"
}

/** By the option's name in a virtual model's query; with `-` for `_` after `x-tokenhub-` it is a header. */
export const textOptions: ReadonlyMap<string, TextOption> = new Map<string, TextOption>([
  ["mode", { path: ["mode"], type: "text" }],
  ["planner", { path: ["planner"], type: "text" }],
  ["critic", { path: ["critic"], type: "text" }],
  ["refinements", { path: ["refinements"], type: "number" }],
  ["max_cost", { path: ["policy", "max_cost_per_1k_tokens"], type: "number" }],
  ["min_context", { path: ["policy", "min_context_size"], type: "number" }],
  ["prefer_higher_weight", { path: ["policy", "prefer_higher_weight"], type: "boolean" }],
  ["allow_escalation", { path: ["policy", "allow_escalation"], type: "boolean" }],
  ["deadline_ms", { path: ["deadline_ms"], type: "number" }],
  ["max_cost_usd", { path: ["max_cost_usd"], type: "number" }],
  ["events", { path: ["events"], type: "boolean" }],
  ["drop_unsupported", { path: ["drop_unsupported"], type: "boolean" }]
])

export const headerPrefix = "x-tokenhub-"

export const headerOf = (option: string): string => headerPrefix + option.replaceAll("_", "-")

/** The paragraph on options for the OpenAPI page. */
export const description = `Any request under /v1 may carry options for TokenHub itself, which never reach a provider: as the \`tokenhub\` object in the body, \
as headers, or in the name of a virtual model. The model \`tokenhub/auto\` leaves the choice to the router; \`tokenhub/<mode>\` is answered by that \
orchestration mode, with options as in \`tokenhub/adversarial?planner=a&critic=b&refinements=2\`. The headers, each with the field of the \`tokenhub\` \
object that it stands for: ${[...textOptions].map(([name, { path }]) => `\`${headerOf(name)}\` (\`${path.join(".")}\`)`).join(", ")}. Where one option is \
given several times, the body's \`tokenhub\` object wins over the model's name, and that over a header. An option that does not exist is a 400 that names it.`
