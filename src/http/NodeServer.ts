/** Node's own HTTP server: its limits and time-outs, and the envelope for what it refuses before Effect sees a request. */
import { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import { makeRequestId } from "../domain/Ids.ts"
import { inStage } from "../domain/Stages.ts"
import type { Failure } from "./ErrorEnvelope.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"
import { isSystem } from "./system/SystemApi.ts"

const options = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 30_000,
  requestTimeout: 300_000,
  /** Longer than the idle time of the usual load balancers (60 s), so that they never write to a socket that closes. */
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1000,
  noDelay: true,
  /** `Front` refuses a request without Host, in the envelope. */
  requireHostHeader: false
}

const refused = (code: string | undefined): Failure => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return ErrorEnvelope.httpFailure(431, "invalid_request_error", "headers_too_large", `The headers are larger than ${options.maxHeaderSize} bytes`)
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return ErrorEnvelope.httpFailure(408, "invalid_request_error", "request_timeout", "The request did not arrive in time")
    default:
      return ErrorEnvelope.httpFailure(400, "invalid_request_error", "bad_request", "The request is not valid HTTP")
  }
}

const reasons: { readonly [status: number]: string } = {
  400: "Bad Request",
  408: "Request Timeout",
  431: "Request Header Fields Too Large"
}

const rawResponse = (failure: Failure): string => {
  const id = makeRequestId(Date.now())
  const body = JSON.stringify(ErrorEnvelope.bodyOf(failure, id))
  return [
    `HTTP/1.1 ${failure.status} ${reasons[failure.status] ?? "Bad Request"}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${id}`,
    "connection: close",
    "",
    body
  ].join("\r\n")
}

class StagedRequest extends IncomingMessage {
  waitedMs: number | undefined
}

/** How long a request waited for its stage before it began, in milliseconds; undefined: it began when it came. */
export const waitOf = (request: object): number | undefined =>
  request instanceof StagedRequest ? request.waitedMs : undefined

/** An answer that ends in its stage of the turn; one that node refuses to write breaks off. */
class StagedResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  override end(...given: Array<unknown>): this {
    inStage("writes", () => {
      try {
        super.end(...(given as []))
      } catch (error) {
        this.destroy(error instanceof Error ? error : undefined)
      }
    })
    return this
  }
}

/** What is a request to node: one whose client waits to be told to go on, too. */
const requests: ReadonlySet<string> = new Set(["request", "checkContinue"])

/**
 * A server whose requests begin in their stage of a turn. Those of the system begin when they come, and so do those that it does not
 * let in: what refuses them at once also makes node read no more from who sends without end. Whoever wants another protocol (an
 * upgrade) does not wait either: node has left its socket to the listener by then.
 */
export class StagedServer extends Server {
  /** Whether a request that comes now may wait for its turn. */
  letsIn: () => boolean = () => true
  private readonly answers = new WeakMap<Duplex, number>()

  override emit(event: string, ...given: Array<unknown>): boolean {
    if (!requests.has(event)) return super.emit(event, ...given)
    const [request, response] = given as [StagedRequest, ServerResponse]
    const { socket } = request
    this.count(socket, 1)
    response.once("close", () => this.count(socket, -1))
    if (isSystem(request.url ?? "") || !this.letsIn()) return super.emit(event, ...given)
    const came = performance.now()
    inStage("requests", () => {
      request.waitedMs = performance.now() - came
      super.emit(event, ...given)
      // The client left meanwhile: those who listen only now hear of it too.
      if (response.destroyed) response.emit("close")
    })
    return true
  }

  /** Whether an answer is on its way there, or will be. */
  isAnswering(socket: Duplex): boolean {
    return (this.answers.get(socket) ?? 0) > 0
  }

  private count(socket: Duplex, change: 1 | -1): void {
    this.answers.set(socket, (this.answers.get(socket) ?? 0) + change)
  }
}

/** A server that is not listening yet. */
export const make = (): StagedServer => {
  const server = new StagedServer({ ...options, IncomingMessage: StagedRequest, ServerResponse: StagedResponse })
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // Another answer must not be mixed with this one.
    if (error.code === "ECONNRESET" || !socket.writable || server.isAnswering(socket)) return socket.destroy()
    socket.end(rawResponse(refused(error.code)), () => socket.destroy())
  })
  server.on("checkExpectation", (_request, response) => {
    const failure = ErrorEnvelope.httpFailure(417, "invalid_request_error", "expectation_failed", "The expectation can't be met")
    const id = makeRequestId(Date.now())
    const body = JSON.stringify(ErrorEnvelope.bodyOf(failure, id))
    response.writeHead(failure.status, { "content-type": "application/json", "content-length": Buffer.byteLength(body), "x-request-id": id })
    response.end(body)
  })
  return server
}
