/**
 * Addresses on loopback where the connection itself fails: nobody listens, nobody accepts, nobody answers, TLS goes
 * wrong.
 */
import { once } from "node:events"
import { createServer as createHttpsServer } from "node:https"
import type { AddressInfo, Server, Socket } from "node:net"
import { connect, createServer } from "node:net"
import { Worker } from "node:worker_threads"
import { selfSigned } from "./SelfSigned.ts"

export interface Origin {
  readonly url: string
  readonly close: () => Promise<void>
}

/**
 * - `refused`: a port that nobody listens on
 * - `blackhole`: a listener whose backlog is full: a connection is never made
 * - `silent`: a connection is made, nothing is ever answered, to a TLS hello neither
 * - `tls-garbage`: a TLS hello is answered by bytes that are no TLS
 * - `tls-self-signed`: TLS with a certificate that nobody signed
 */
export type OriginName = "refused" | "blackhole" | "silent" | "tls-garbage" | "tls-self-signed"

export const origins: Readonly<Record<OriginName, () => Promise<Origin>>> = {
  refused: async () => {
    const origin = await listen("http", createServer())
    await origin.close()
    return { url: origin.url, close: async () => {} }
  },
  blackhole: () => blackhole(),
  silent: () => listen("http", createServer((socket) => socket.on("error", () => {}).resume())),
  "tls-garbage": () =>
    listen("https", createServer((socket) => {
      socket.on("error", () => {})
      socket.once("data", () => socket.end("220 mail.example ESMTP ready\r\n"))
    })),
  "tls-self-signed": () =>
    listen("https", createHttpsServer(selfSigned("localhost"), (_request, response) => response.end("{}")))
}

const listen = async (scheme: string, server: Server): Promise<Origin> => {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `${scheme}://127.0.0.1:${portOf(server)}`,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, "close")
    }
  }
}

/** The port that a server listens on. */
export const portOf = (server: Server): number => {
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === "string") throw new Error("fake provider: not listening on a port")
  return address.port
}

/** Listens in a thread that then sleeps for good, so that the kernel's queue fills and stays full. */
const sleeper = `
const { parentPort } = require("node:worker_threads")
const server = require("node:net").createServer()
server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
  parentPort.postMessage(server.address().port)
  setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
})`

/** Most connections that are tried to fill the queue, and how long one may take before it counts as full, in ms. */
const fillLimit = { connections: 16, patience: 200 }

const blackhole = async (): Promise<Origin> => {
  const worker = new Worker(sleeper, { eval: true })
  const [port]: Array<number> = await once(worker, "message")
  if (port === undefined) throw new Error("fake provider: the sleeping listener gave no port")
  const queued: Array<Socket> = []
  for (let full = false; !full && queued.length < fillLimit.connections;) {
    const socket = connect(port, "127.0.0.1").on("error", () => {})
    queued.push(socket)
    full = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), fillLimit.patience)
      socket.once("connect", () => {
        clearTimeout(timer)
        resolve(false)
      })
    })
  }
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      for (const socket of queued) socket.destroy()
      await worker.terminate()
    }
  }
}
