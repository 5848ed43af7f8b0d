/** From headers, virtual model and `tokenhub` object to what the orchestrator is asked. Pure functions. */
import { Result, Schema } from "effect"
import { rateFromDollarsPer1k } from "../domain/Money.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { defaultPolicy } from "../domain/Policy.ts"
import type { RoutingPolicy } from "../domain/Policy.ts"
import { InvalidRequest } from "../domain/RequestError.ts"
import type { RunRequest } from "../orchestrate/Run.ts"
import type { HeaderView } from "./Credentials.ts"
import { defined, formatPath, isRecord, mapped } from "./Json.ts"
import { headerOf, headerPrefix, Options, Policy, textOptions } from "./RunOptionsApi.ts"
import { faultsOf } from "./SchemaFaults.ts"

/** What a request asks of TokenHub, beside the request itself. */
export interface RunOptions extends Pick<RunRequest, "model" | "mode" | "options" | "policy" | "deadlineMs" | "maxCost"> {
  /** A streaming client wants to see the steps. */
  readonly events: boolean
  readonly dropUnsupported: boolean
  /** Under which names the client gave the models of the roles. */
  readonly params: { readonly planner: string; readonly critic: string }
}

export interface Given {
  readonly headers: HeaderView
  /** As the client wrote it. */
  readonly model: string | null | undefined
  /** The body's `tokenhub` object. */
  readonly tokenhub: unknown
  /** The same options in a door's own fields: they win over the model's name, and the `tokenhub` object over them. */
  readonly own?: Options
  /** How those fields are called. */
  readonly names?: { readonly [option: string]: string }
  /** The registered modes. */
  readonly modes: ReadonlyArray<string>
  /** Rounds of refinement where nothing is said of them. */
  readonly refinements: number
}

/** One place where options were given, decoded. `param` names an option's place there. */
interface Layer {
  readonly options: Options
  readonly param: (path: string) => string
}

const nothingAsked: Layer = { options: {}, param: (path) => path }

type Read<A> = Result.Result<A, InvalidRequest>

const refuse = (param: string, message: string): Result.Result<never, InvalidRequest> =>
  Result.fail(new InvalidRequest({ message: `${param}: ${message}`, param }))

// --- the `tokenhub` object

const decodeOptions = Schema.decodeUnknownResult(Options)

/** A field that TokenHub does not know is a mistake. `path` is where the object stands, with a dot. */
export const unknownField = (value: unknown, path: string, known: { readonly [name: string]: unknown }): InvalidRequest | undefined => {
  const name = isRecord(value) ? Object.keys(value).find((key) => !Object.hasOwn(known, key)) : undefined
  const param = `${path}.${name}`
  return name === undefined
    ? undefined
    : new InvalidRequest({ message: `${param}: is not known; there are: ${Object.keys(known).join(", ")}`, param })
}

const layerOf = (raw: unknown, param: (path: string) => string): Read<Layer> => {
  const decoded = decodeOptions(raw)
  if (Result.isSuccess(decoded)) return Result.succeed({ options: decoded.success, param })
  const [fault] = faultsOf(decoded.failure.issue)
  return refuse(param(formatPath(fault?.path ?? [])), fault?.message ?? "is wrong")
}

const objectLayer = (value: unknown): Read<Layer> => {
  if (value === undefined || value === null) return Result.succeed(nothingAsked)
  const unknown = unknownField(value, "tokenhub", Options.fields)
    ?? (isRecord(value) ? unknownField(value["policy"], "tokenhub.policy", Policy.fields) : undefined)
  return unknown === undefined ? layerOf(value, (path) => (path === "" ? "tokenhub" : `tokenhub.${path}`)) : Result.fail(unknown)
}

// --- options as text

const valueOf = (type: "text" | "number" | "boolean", text: string): unknown => {
  if (type === "text") return text
  if (type === "boolean") return text === "true" ? true : text === "false" ? false : text
  const number = Number(text)
  return Number.isNaN(number) ? text : number
}

/** `nameOf` says how an option is called in this place. */
const textLayer = (given: Iterable<readonly [option: string, text: string]>, nameOf: (option: string) => string): Read<Layer> => {
  const raw: { [name: string]: unknown } = {}
  const policy: { [name: string]: unknown } = {}
  const names = new Map<string, string>()
  for (const [option, text] of given) {
    const known = textOptions.get(option)
    if (known === undefined) {
      return refuse(nameOf(option), `is not known; there are: ${[...textOptions.keys()].map(nameOf).join(", ")}`)
    }
    if (text.trim() === "") continue
    const [field, inner] = known.path
    if (inner === undefined) raw[field] = valueOf(known.type, text.trim())
    else policy[inner] = valueOf(known.type, text.trim())
    names.set(known.path.join("."), nameOf(option))
  }
  if (names.size === 0) return Result.succeed(nothingAsked)
  return layerOf({ ...raw, policy }, (path) => names.get(path) ?? path)
}

const hasOptions = (headers: HeaderView): boolean => {
  for (const name in headers) if (name.startsWith(headerPrefix)) return true
  return false
}

const headerLayer = (headers: HeaderView): Read<Layer> =>
  textLayer(
    Object.entries(headers).flatMap(([name, text]) =>
      name.startsWith(headerPrefix) && text !== undefined ? [[name.slice(headerPrefix.length).replaceAll("-", "_"), text] as const] : []),
    headerOf
  )

// --- virtual models

const virtualPrefix = "tokenhub/"
const routersChoice = "auto"

/** The names that `/v1/models` lists beside the real ones. */
export const virtualModels = (modes: ReadonlyArray<string>): ReadonlyArray<string> =>
  [routersChoice, ...modes].map((name) => virtualPrefix + name)

interface Virtual {
  /** undefined: the router chooses. */
  readonly model: string | undefined
  readonly layer: Layer
}

/** `auto` and the virtual models; any other name is a real model's. */
const virtualOf = (model: string | null | undefined, modes: ReadonlyArray<string>): Read<Virtual> => {
  if (model === undefined || model === null || model === routersChoice) return Result.succeed({ model: undefined, layer: nothingAsked })
  if (!model.startsWith(virtualPrefix)) return Result.succeed({ model, layer: nothingAsked })
  const [name = "", query = ""] = model.split(/\?(.*)/s)
  if (!virtualModels(modes).includes(name)) return Result.succeed({ model, layer: nothingAsked })
  const mode = name.slice(virtualPrefix.length)
  const given: ReadonlyArray<readonly [string, string]> = [...new URLSearchParams(query)]
  const asked = mode === routersChoice ? given : [["mode", mode] as const, ...given.filter(([option]) => option !== "mode")]
  return textLayer(asked, (option) => option).pipe(
    Result.mapBoth({
      onFailure: ({ message }) => new InvalidRequest({ message: `model: ${message}`, param: "model" }),
      onSuccess: (layer) => ({ model: undefined, layer: { ...layer, param: () => "model" } })
    })
  )
}

// --- all together

/** The last layer that says something of it wins. */
const last = <A>(layers: ReadonlyArray<Layer>, pick: (options: Options) => A | null | undefined): A | undefined => {
  for (const { options } of layers.toReversed()) {
    const value = pick(options)
    if (value !== undefined && value !== null) return value
  }
  return undefined
}

const policyOf = (layers: ReadonlyArray<Layer>): RoutingPolicy => ({
  ...defaultPolicy,
  ...defined("maxRate", mapped(last(layers, ({ policy }) => policy?.max_cost_per_1k_tokens), rateFromDollarsPer1k)),
  ...defined("minContextSize", last(layers, ({ policy }) => policy?.min_context_size)),
  ...defined("preferHigherWeight", last(layers, ({ policy }) => policy?.prefer_higher_weight)),
  ...defined("allowEscalation", last(layers, ({ policy }) => policy?.allow_escalation))
})

/** A role's model, unless that is left to the router in so many words. */
const named = (model: string | undefined): string | undefined => (model === routersChoice ? undefined : model)

const nanoDollars = (dollars: number): NanoDollars => BigInt(Math.round(dollars * 1e9))

const defaultMode = "simple"

/** What the request asks of TokenHub, or the first option that is wrong, by the name under which the client gave it. */
export const read = (given: Given): Read<RunOptions> => {
  const { headers, model, own = {}, refinements, tokenhub } = given
  const asksNothing = Object.keys(own).length === 0 && (tokenhub === undefined || tokenhub === null) && model?.startsWith(virtualPrefix) !== true && !hasOptions(headers)
  return asksNothing ? Result.succeed({ ...usual, model: named(model ?? undefined), options: { refinements } }) : readLayers(given)
}

/** Of a request that says nothing of it, as most do. */
const usual = { mode: defaultMode, policy: defaultPolicy, events: false, dropUnsupported: false, params: { planner: "planner", critic: "critic" } }

const readLayers = ({ headers, model: requested, modes, names = {}, own = {}, refinements, tokenhub }: Given): Read<RunOptions> =>
  Result.gen(function*() {
    const virtual = yield* virtualOf(requested, modes)
    const layers = [
      yield* headerLayer(headers),
      virtual.layer,
      { options: own, param: (option: string) => names[option] ?? option },
      yield* objectLayer(tokenhub)
    ]
    const paramOf = (option: "mode" | "planner" | "critic") =>
      layers.findLast(({ options }) => (options[option] ?? undefined) !== undefined)?.param(option) ?? option
    const mode = last(layers, (options) => options.mode) ?? defaultMode
    if (!modes.includes(mode)) {
      const param = paramOf("mode")
      return yield* Result.fail(
        new InvalidRequest({ message: `${param}: no orchestration mode '${mode.slice(0, 64)}'; there are: ${modes.join(", ")}`, param })
      )
    }
    return {
      model: virtual.model,
      mode,
      options: {
        ...defined("planner", named(last(layers, (options) => options.planner))),
        ...defined("critic", named(last(layers, (options) => options.critic))),
        refinements: last(layers, (options) => options.refinements) ?? refinements
      },
      policy: policyOf(layers),
      ...defined("deadlineMs", last(layers, (options) => options.deadline_ms)),
      ...defined("maxCost", mapped(last(layers, (options) => options.max_cost_usd), nanoDollars)),
      events: last(layers, (options) => options.events) ?? false,
      dropUnsupported: last(layers, (options) => options.drop_unsupported) ?? false,
      params: { planner: paramOf("planner"), critic: paramOf("critic") }
    }
  })
