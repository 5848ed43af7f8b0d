/** The fake provider: reads requests, keeps a record and a bill of them, and holds the scripts. */
import { once } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:http"
import type { Socket } from "node:net"
import type { Books } from "./Answer.ts"
import { answerTo } from "./Answer.ts"
import { anthropic } from "./Anthropic.ts"
import { azure } from "./Azure.ts"
import type { Behaviour } from "./Behaviour.ts"
import type { Call, Charge, Match } from "./Call.ts"
import { matches } from "./Call.ts"
import type { Ending } from "./Delivery.ts"
import { deliver } from "./Delivery.ts"
import type { NamedBehaviour } from "./Faults.ts"
import { behaviourOfModel, faultOf } from "./Faults.ts"
import { gemini } from "./Gemini.ts"
import { compatible, openai } from "./OpenAi.ts"
import type { Origin, OriginName } from "./Origins.ts"
import { origins, portOf } from "./Origins.ts"
import type { Prompt, Vendor, VendorName } from "./Wire.ts"
import { hexOf, isJson, textOf } from "./Wire.ts"

/** The vendors, by name. */
export const vendors: Readonly<Record<VendorName, Vendor>> = { openai, anthropic, gemini, azure, compatible }

export interface FakeProvider {
  readonly port: number
  /** The base URL as the vendor's own SDK takes it (Azure's: its `endpoint`). */
  readonly url: (vendor: VendorName) => string
  /** A base URL whose connections fail, opened at first use. */
  readonly origin: (name: OriginName) => Promise<string>
  /** Every request since the start or the last reset, in the order of arrival. */
  readonly calls: ReadonlyArray<Call>
  /** Every generated answer, in the order in which generation began. */
  readonly bill: ReadonlyArray<Charge>
  /** The credentials that a vendor accepts; while it has no entry, any that doesn't contain `invalid`. */
  readonly keys: Map<VendorName, ReadonlySet<string>>
  readonly openSockets: () => number
  /**
   * Adds behaviours for the calls that match, each used once and in order; earlier scripts go first. Throws on an
   * unknown fault.
   */
  readonly script: (match: Match, ...behaviours: ReadonlyArray<Behaviour>) => void
  /** How many scripted behaviours no call has used yet, those for always left out. */
  readonly unused: () => number
  /** Resolves with the first matching call that arrives from now on. */
  readonly next: (match: Match) => Promise<Call>
  /** Forgets calls, bill, scripts and keys; connections stay. */
  readonly reset: () => void
  /** Closes every connection and listener. */
  readonly close: () => Promise<void>
}

export interface FakeProviderOptions {
  /** 0, the default, takes a free one. */
  readonly port?: number
  /** Most calls and charges that are kept, for a server that runs for long; without it all. */
  readonly history?: number
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

interface Script {
  readonly match: Match
  readonly behaviours: Array<Behaviour>
}

interface Waiter {
  readonly match: Match
  readonly resolve: (call: Call) => void
}

/** Starts the fake provider on 127.0.0.1. */
export const startFakeProvider = async (options: FakeProviderOptions = {}): Promise<FakeProvider> => {
  const history = options.history ?? Infinity
  const calls: Array<Call> = []
  const bill: Array<Charge> = []
  const scripts: Array<Script> = []
  const waiters: Array<Waiter> = []
  const keys = new Map<VendorName, ReadonlySet<string>>()
  const namedUses = new Map<string, number>()
  const sockets = new Set<Socket>()
  const opened = new Map<OriginName, Promise<Origin>>()
  let count = 0

  const keep = <A>(list: Array<A>, item: A): void => {
    list.push(item)
    if (list.length > history) list.shift()
  }

  const scripted = (call: Call): Behaviour | undefined => {
    const script = scripts.find(({ behaviours, match }) => behaviours.length > 0 && matches(match, call))
    return script?.behaviours[0]?.always === true ? script.behaviours[0] : script?.behaviours.shift()
  }

  /** What the call gets: a script's behaviour, else its model's; merged with the fault row that it names. */
  const behaviourOf = (call: Call, prompt: Prompt | undefined): NamedBehaviour => {
    const behaviour = scripted(call)
    const context = { stream: call.stream, key: call.key }
    if (behaviour !== undefined) {
      const fault = behaviour.fault === undefined ? {} : faultOf(behaviour.fault, context)
      return { behaviour: { ...fault, ...behaviour }, context: Infinity, times: Infinity }
    }
    if (prompt === undefined) return { behaviour: {}, context: Infinity, times: Infinity }
    const named = behaviourOfModel(prompt, call.key)
    const uses = (namedUses.get(prompt.model) ?? 0) + 1
    if (named.times !== Infinity) namedUses.set(prompt.model, uses)
    return uses <= named.times ? named : { ...named, behaviour: {} }
  }

  const books: Books = {
    accepts: (vendor, key) => keys.get(vendor)?.has(key) ?? !key.includes("invalid"),
    behaviourOf,
    charge: ({ id, model, requestId, vendor }, operation, usage) => {
      const charge = { call: id, vendor, operation, model, requestId, ...usage }
      keep(bill, charge)
      return (completion) => {
        charge.completion = Math.max(charge.completion, completion)
      }
    }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const at = performance.timeOrigin + performance.now()
    const id = ++count
    const target = new URL(request.url ?? "/", "http://127.0.0.1")
    const known = Object.values(vendors).find(({ prefix }) => target.pathname.startsWith(`${prefix}/`))
    const vendor = known ?? openai
    const path = target.pathname.slice(known?.prefix.length ?? 0)
    const method = request.method ?? "GET"
    const found = vendor.routes.map((route) => ({ route, hit: route.method === method ? route.path.exec(path) : null }))
      .find(({ hit }) => hit !== null)
    const route = found?.route
    const groups = decoded(found?.hit?.groups ?? {})
    const chunks: Array<Buffer> = []
    try {
      for await (const chunk of request) chunks.push(chunk)
    } catch {
      return
    }
    const text = Buffer.concat(chunks).toString()
    const body = parsed(text)
    const json = isJson(body) ? body : {}
    const prompt = route?.protocol?.read(json, groups["model"], target.searchParams)
    const requestId = hexOf(`request ${id} ${at}`, 32)
    let settle = (_: Ending) => {}
    const call: Mutable<Call> = {
      id,
      vendor: vendor.name,
      operation: route?.operation,
      method,
      path,
      query: target.searchParams,
      model: prompt?.model ?? groups["model"] ?? textOf(json["model"]),
      key: vendor.key(request.headers, target.searchParams) ?? "",
      headers: request.headers,
      body,
      text,
      stream: prompt?.stream ?? false,
      at,
      endedAt: undefined,
      status: undefined,
      requestId,
      state: "open",
      ended: new Promise<Ending>((resolve) => settle = resolve)
    }
    keep(calls, call)
    for (const waiter of waiters.splice(0)) {
      if (matches(waiter.match, call)) waiter.resolve(call)
      else waiters.push(waiter)
    }
    const answer = answerTo({ call, route, vendor, groups, json, prompt }, books)
    call.status = answer.outgoing.status
    call.state = await deliver(response, answer.outgoing, answer.behaviour).catch((): Ending => {
      response.destroy()
      return "cut"
    })
    call.endedAt = performance.timeOrigin + performance.now()
    settle(call.state)
  }

  const server = createServer(
    { keepAliveTimeout: 60_000, requestTimeout: 0, headersTimeout: 0, maxHeaderSize: 64 * 1024 },
    (request, response) => void handle(request, response)
  )
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  server.listen(options.port ?? 0, "127.0.0.1")
  await once(server, "listening")
  const port = portOf(server)

  const close = async (): Promise<void> => {
    const closed = once(server, "close")
    server.close()
    for (const socket of sockets) socket.destroy()
    await Promise.all([closed, ...[...opened.values()].map(async (origin) => (await origin).close())])
  }
  let closing: Promise<void> | undefined

  return {
    port,
    url: (vendor) => `http://127.0.0.1:${port}${vendors[vendor].base}`,
    origin: async (name) => {
      const origin = opened.get(name) ?? origins[name]()
      opened.set(name, origin)
      return (await origin).url
    },
    calls,
    bill,
    keys,
    openSockets: () => sockets.size,
    script: (match, ...behaviours) => {
      for (const { fault } of behaviours) if (fault !== undefined) faultOf(fault, { stream: false, key: "" })
      scripts.push({ match, behaviours: [...behaviours] })
    },
    unused: () => scripts.flatMap(({ behaviours }) => behaviours.filter(({ always }) => always !== true)).length,
    next: (match) => new Promise((resolve) => void waiters.push({ match, resolve })),
    reset: () => {
      for (const list of [calls, bill, scripts, waiters]) list.length = 0
      keys.clear()
      namedUses.clear()
    },
    close: () => closing ??= close()
  }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const decoded = (groups: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(groups).flatMap(([name, value]) => value === undefined ? [] : [[name, unescaped(value)]])
  )

const unescaped = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
