/**
 * The wiring. Read from top to bottom it is the way of a request, and the order in which things close: first nothing new is
 * taken and what runs may end, then the listener, the handlers and the services under them, and the database last.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Console, Effect, Layer } from "effect"
import type { HttpServerError } from "effect/http"
import { HttpIncomingMessage, HttpRouter, HttpServer } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Admission } from "./account/Admission.ts"
import { AuditLog } from "./account/AuditLog.ts"
import { Backup } from "./account/Backup.ts"
import { Budgets } from "./account/Budgets.ts"
import { ClientKeys } from "./account/ClientKeys.ts"
import { Events } from "./account/Events.ts"
import { GuessThrottle } from "./account/GuessThrottle.ts"
import { Idempotency } from "./account/Idempotency.ts"
import { Ledger } from "./account/Ledger.ts"
import { Prompts } from "./account/Prompts.ts"
import { Responses } from "./account/Responses.ts"
import { RateLimits } from "./account/RateLimits.ts"
import { Sealing } from "./account/Sealing.ts"
import { StoreHealth } from "./account/StoreHealth.ts"
import { UnauthenticatedRequests } from "./account/UnauthenticatedRequests.ts"
import { AdminHttp } from "./http/admin/AdminHttp.ts"
import { AnthropicMessagesHttp } from "./http/anthropic/AnthropicMessagesHttp.ts"
import { BuiltApi, routes } from "./http/Api.ts"
import { AdminAuth, ClientAuth, Doorkeeper } from "./http/Authentication.ts"
import { BodyLimit, mostRead } from "./http/BodyLimit.ts"
import { ChatHttp } from "./http/chat/ChatHttp.ts"
import { Drain } from "./http/Drain.ts"
import { EmbeddingsHttp } from "./http/openai/EmbeddingsHttp.ts"
import * as Front from "./http/Front.ts"
import { Idempotent } from "./http/Idempotency.ts"
import { KeptPrompts } from "./http/KeptPrompts.ts"
import { ModelListHttp } from "./http/openai/ModelListHttp.ts"
import * as NodeServer from "./http/NodeServer.ts"
import { OpenAiChatHttp } from "./http/openai/OpenAiChatHttp.ts"
import { OpenAiResponsesHttp } from "./http/openai/OpenAiResponsesHttp.ts"
import { Overload } from "./http/Overload.ts"
import { Room } from "./http/Room.ts"
import { Route } from "./http/Route.ts"
import * as SystemHttp from "./http/system/SystemHttp.ts"
import * as Welcome from "./http/system/Welcome.ts"
import { Attempts } from "./orchestrate/Attempts.ts"
import { Modes } from "./orchestrate/Mode.ts"
import { Adversarial } from "./orchestrate/modes/Adversarial.ts"
import { Simple } from "./orchestrate/modes/Simple.ts"
import { Orchestrator } from "./orchestrate/Orchestrator.ts"
import { RetryBudget } from "./orchestrate/RetryBudget.ts"
import { ProviderRegistry } from "./provider/ProviderRegistry.ts"
import { ProviderTypes } from "./provider/ProviderTypes.ts"
import { Upstream } from "./provider/Upstream.ts"
import * as Vendors from "./provider/Vendors.ts"
import { HealthBoard } from "./route/HealthBoard.ts"
import { HealthChecks } from "./route/HealthChecks.ts"
import { ModelRegistry } from "./route/ModelRegistry.ts"
import { Router } from "./route/Router.ts"
import { TokenCounter } from "./route/TokenCounter.ts"
import type { SettingsError } from "./Settings.ts"
import { Settings } from "./Settings.ts"
import { Database } from "./store/Database.ts"
import * as Store from "./store/Store.ts"
import type { StoreError } from "./store/StoreError.ts"
import { Prometheus } from "./telemetry/Prometheus.ts"
import * as Telemetry from "./telemetry/Telemetry.ts"
import { KeyDerivation } from "./vault/KeyDerivation.ts"
import { Vault } from "./vault/Vault.ts"

/** What may be other than in the product: `make({ modes: Modes.layer(Simple, Mine) })`. */
export interface Parts {
  readonly settings?: Layer.Layer<Settings, SettingsError>
  readonly modes?: Layer.Layer<Modes>
  /** Registers the provider types; `Layer.mergeAll(Vendors.layer, ProviderTypes.layerRegister(mine))` adds one. */
  readonly providerTypes?: Layer.Layer<never, never, ProviderTypes | Upstream>
}

/** How long the last answers may take on their way out once everything that ran has ended or was cut. */
const gracefulShutdownTimeout = "200 millis"

/** Connections that may wait to be accepted: with node's own 511, a burst beyond it waits for seconds in its clients. The system's bound holds too. */
const backlog = 4096

const doors = Layer.mergeAll(ChatHttp, OpenAiChatHttp, AnthropicMessagesHttp, OpenAiResponsesHttp, EmbeddingsHttp)

const middlewares = Layer.mergeAll(Route.layer, ClientAuth.layer, AdminAuth.layer, BodyLimit.layer, Idempotent.layer).pipe(
  Layer.provideMerge(Doorkeeper.layer)
)

const others = HttpApiBuilder.layer(BuiltApi).pipe(Layer.provide(Layer.mergeAll(ModelListHttp, AdminHttp, SystemHttp.SystemHttp)))

const api = Layer.merge(doors, others).pipe(Layer.provide(middlewares))

const http = HttpRouter.serve(Layer.mergeAll(api, SystemHttp.docs, Front.layer(routes)), {
  disableLogger: true,
  disableListenLog: true,
  // Names of models and secrets, percent-encoded.
  routerConfig: { maxParamLength: Front.maxParamLength }
}).pipe(Layer.provide(Layer.succeed(HttpIncomingMessage.MaxBodySize, mostRead)))

const welcome = Layer.effectDiscard(Effect.gen(function*() {
  const settings = yield* Settings
  const { address } = yield* HttpServer.HttpServer
  const { location } = yield* Database
  const keys = yield* ClientKeys
  const models = yield* ModelRegistry
  const { state } = yield* Effect.flatMap(Vault, ({ status }) => status)
  const lines = Welcome.lines({
    host: settings.host,
    port: "port" in address ? address.port : settings.port,
    location,
    keys: settings.clientAuth === "off" ? "nobody" : settings.clientAuth === "auto" && !keys.existed() ? "others" : "everyone",
    mock: models.list().some(({ enabled, source }) => enabled && source === "mock"),
    vaultLocked: state === "locked",
    ignored: settings.ignored
  })
  yield* Effect.forEach(lines, (line) => Console.log(line), { discard: true })
}))

export const make = (parts: Parts = {}) => {
  const server = NodeServer.make()
  const listener = Layer.unwrap(Effect.gen(function*() {
    const { host, port } = yield* Settings
    const room = yield* Room
    server.letsIn = () => room.lack() === undefined
    return NodeHttpServer.layer(() => server, { host, port, backlog, gracefulShutdownTimeout })
  }))
  const orchestration = KeptPrompts.recording.pipe(
    Layer.provide(Orchestrator.layer),
    Layer.provideMerge(KeptPrompts.layer),
    Layer.provideMerge(Attempts.layer),
    Layer.provideMerge(RetryBudget.layer),
    Layer.provideMerge(parts.modes ?? Modes.layer(Simple, Adversarial))
  )
  const routing = Layer.mergeAll(Router.layer, TokenCounter.layer, HealthChecks.layer).pipe(Layer.provideMerge(ModelRegistry.layer), Layer.provideMerge(HealthBoard.layer))
  const providers = ProviderRegistry.layer.pipe(
    Layer.provideMerge(parts.providerTypes ?? Vendors.layer),
    Layer.provideMerge(Layer.mergeAll(ProviderTypes.layer, Upstream.layer))
  )
  const accounts = Layer.mergeAll(
    Admission.layer,
    GuessThrottle.layer,
    AuditLog.layer,
    StoreHealth.layer,
    UnauthenticatedRequests.layer,
    Backup.layer,
    Prompts.layer,
    Responses.layer
  ).pipe(
    Layer.provideMerge(Budgets.layer),
    Layer.provideMerge(Layer.mergeAll(ClientKeys.layer, Events.layer, RateLimits.layer)),
    Layer.provideMerge(Ledger.layer)
  )
  const idempotency = Idempotency.layer.pipe(
    Layer.provide(Layer.effect(Sealing, Effect.map(Vault, ({ seal, unseal }) => Sealing.of({ seal, unseal }))))
  )
  return Layer.mergeAll(Drain.onClose(server), welcome).pipe(
    Layer.provideMerge(http),
    Layer.provideMerge(listener),
    Layer.provideMerge(Room.layer),
    Layer.provideMerge(Layer.merge(Drain.layer, Overload.layer)),
    Layer.provideMerge(orchestration),
    Layer.provideMerge(routing),
    Layer.provideMerge(providers),
    Layer.provideMerge(idempotency),
    Layer.provideMerge(Vault.layer),
    Layer.provideMerge(KeyDerivation.layer),
    Layer.provideMerge(accounts),
    Layer.provideMerge(Store.layer),
    Layer.provideMerge(Prometheus.layer),
    Layer.provideMerge(Telemetry.layer),
    Layer.provideMerge(parts.settings ?? Settings.layer)
  )
}

export const layer = make()

export type StartError = SettingsError | StoreError | HttpServerError.ServeError

const listening: { readonly [code: string]: string } = {
  EADDRINUSE: "another program listens there already",
  EACCES: "this user may not listen there",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "this machine has no such address"
}

/** The one line that the person who started TokenHub sees when it can't start. */
export const startFailure = (error: StartError): string => {
  if (error._tag !== "ServeError") return `TokenHub can't start: ${error.message}`
  const { cause } = error
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown"
  const reason = listening[code] ?? code
  return `TokenHub can't start: can't listen on TOKENHUB_HOST and TOKENHUB_PORT (${
    cause instanceof Error ? cause.message.replace(/^listen \w+: /, "") : "?"
  }): ${reason}`
}
