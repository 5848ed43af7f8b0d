/**
 * One HTTP exchange on a pool, by undici's own callbacks: its promises and streams cost as much again as a small call. What arrives is
 * held until it is read, and the upstream is paused while much is. Time-outs run while somebody waits: for the head of the answer, for
 * its first token, for the next bytes, and for the whole.
 */
import { Effect } from "effect"
import type { Transform } from "node:stream"
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib"
import type { Dispatcher } from "undici"
import { nowMs } from "../domain/Monotonic.ts"
import { inStage } from "../domain/Stages.ts"
import type { Headers } from "./Faults.ts"

/** What an exchange sends. */
export interface Sent {
  readonly path: string
  readonly headers: { readonly [name: string]: string }
  /** Sent by POST; undefined: a GET. */
  readonly body: string | Buffer | undefined
}

/** Milliseconds that each part may take. */
export interface Patience {
  readonly firstMs: number
  readonly idleMs: number
  readonly wholeMs: number
}

/** What broke an exchange: the connection or its bytes, a time that ran out, a body over the limit, an encoding that is refused. */
export type Broken =
  | { readonly why: "failed"; readonly cause: unknown }
  | { readonly why: "late"; readonly of: "head" | "first_token" | "bytes" | "whole"; readonly patience: Patience }
  | { readonly why: "too_large" }
  | { readonly why: "encoding"; readonly encoding: string }

/** Who takes a body piece by piece. */
export interface Reader<E> {
  readonly read: (bytes: Buffer | undefined) => Effect.Effect<void, E>
  /** Nothing more is wanted. */
  readonly over: boolean
}

/** Bytes that may be held for a reader before the upstream is paused. */
const mostHeld = 128 * 1024

/** The part of an error's body that is read, in bytes. */
const longestErrorBody = 64 * 1024

/** What is left of an answer after its end mark is read up to here, so that the connection can be used again. */
const leftover = { bytes: 16 * 1024, withinMs: 1000 }

const decoders: { readonly [encoding: string]: () => Transform } = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300

const closed = new Error("closed")

const nothing = Buffer.alloc(0)

export class Exchange implements Dispatcher.DispatchHandler {
  /** 0 until the head of the answer is there. */
  status = 0
  headers: Headers = {}

  private readonly patience: Patience
  private readonly mostBytes: number
  private readonly started = nowMs()
  private timer: NodeJS.Timeout | undefined
  private looksAt = 0
  private controller: Dispatcher.DispatchController | undefined
  private decoder: Transform | undefined
  private chunks: Array<Buffer> = []
  private held = 0
  private total = 0
  private state: "open" | "ended" | "draining" | "closed" = "open"
  private broken: Broken | undefined
  private wants: "head" | "bytes" | "end" = "head"
  private bodyOver = false
  private wake: (() => void) | undefined
  /** Who waits is about to be woken. */
  private told = false
  private begun = false
  private quietSince = this.started

  /** `mostBytes`: of a success's body in plain. */
  constructor(pool: Dispatcher, sent: Sent, patience: Patience, mostBytes: number) {
    this.patience = patience
    this.mostBytes = mostBytes
    this.lookAt(this.patienceEnds().due)
    const { body, headers, path } = sent
    pool.dispatch({ method: body === undefined ? "GET" : "POST", path, headers: { ...headers }, body: body ?? null }, this)
  }

  // --- for who reads

  /** Returns once status and headers are there. */
  head(): Effect.Effect<void, Broken> {
    return this.until("head")
  }

  /** The whole body, waited for together with the head; of an error, its beginning. */
  whole(): Effect.Effect<Buffer, Broken> {
    return Effect.map(this.until("end"), () => this.take() ?? nothing)
  }

  /**
   * Hands on what arrives, and undefined at the end, until `over`. As long as the reader answers with the plain `Effect.void` it
   * waits for nothing, and no step of a fiber is spent on it; while it waits, what arrives is held.
   */
  each<E>(reader: Reader<E>): Effect.Effect<void, Broken | E> {
    return Effect.callback((resume) => {
      // Called from undici, which would take a defect for the connection's.
      const wake = (): void => {
        try {
          const next = this.handTo(reader)
          if (next === undefined) this.wait("bytes", wake)
          else resume(next)
        } catch (defect) {
          resume(Effect.die(defect))
        }
      }
      this.wait("bytes", wake)
    })
  }

  /** The first token is there: from now on the next bytes may take the idle time-out. */
  hasBegun(): void {
    this.begun = true
  }

  /** Nothing more is wanted. `inOrder`: the answer was complete, so that the rest of its body is worth reading. */
  close(inOrder = false): void {
    clearTimeout(this.timer)
    this.wake = undefined
    const open = this.state === "open"
    this.state = "closed"
    this.chunks = []
    // What was decoded may have ended before the body that it came in.
    if (this.bodyOver || this.broken !== undefined) return
    if (open && inOrder && this.decoder === undefined) {
      this.state = "draining"
      this.total = 0
      this.controller?.resume()
      this.timer = setTimeout(() => this.stop(), leftover.withinMs).unref()
    } else this.stop()
  }

  // --- for undici

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    if (this.state === "closed" || this.broken !== undefined) controller.abort(closed)
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Headers): void {
    if (status < 200 || this.state !== "open") return
    this.status = status
    this.headers = headers
    this.quietSince = nowMs()
    const encoding = String(headers["content-encoding"] ?? "").trim().toLowerCase()
    if (encoding !== "" && encoding !== "identity") this.decode(encoding)
    else if (isSuccess(status) && Number(headers["content-length"] ?? 0) > this.mostBytes) this.fail({ why: "too_large" })
    this.tell()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.state === "draining") {
      this.total += chunk.length
      if (this.total > leftover.bytes) this.stop()
      return
    }
    if (this.decoder === undefined) return this.accept(chunk)
    if (this.decoder.write(chunk)) return
    controller.pause()
    this.decoder.once("drain", () => controller.resume())
  }

  onResponseEnd(): void {
    this.bodyOver = true
    if (this.state === "draining") clearTimeout(this.timer)
    if (this.decoder !== undefined && this.state === "open") this.decoder.end()
    else this.end()
  }

  onResponseError(_: Dispatcher.DispatchController | null, cause: Error): void {
    this.bodyOver = true
    this.fail({ why: "failed", cause })
  }

  // --- inside

  /** Hands on what is there. Returns how it goes on; undefined: with the next bytes. */
  private handTo<E>(reader: Reader<E>): Effect.Effect<void, Broken | E> | undefined {
    if (this.held === 0 && this.broken !== undefined) return Effect.fail(this.broken)
    const bytes = this.take()
    const received = reader.read(bytes)
    if (bytes === undefined || reader.over) return received
    return received === Effect.void ? undefined : Effect.andThen(received, this.each(reader))
  }

  private until(wants: "head" | "bytes" | "end"): Effect.Effect<void, Broken> {
    return Effect.callback((resume) => this.wait(wants, () => resume(this.broken === undefined ? Effect.void : Effect.fail(this.broken))))
  }

  /** Calls back once what is wanted is there, which may be at once. */
  private wait(wants: "head" | "bytes" | "end", wake: () => void): void {
    // Who waited was interrupted by what it was handed.
    if (this.state === "closed" || this.state === "draining") return
    this.wants = wants
    // It stopped while nobody waited for the whole.
    if (wants === "end" && this.held >= mostHeld) (this.decoder ?? this.controller)?.resume()
    this.quietSince = nowMs()
    const { due } = this.patienceEnds()
    if (due < this.looksAt - 1) this.lookAt(due)
    if (this.isThere()) return wake()
    this.wake = wake
  }

  private isThere(): boolean {
    return this.broken !== undefined || this.state !== "open" ||
      (this.wants === "head" ? this.status > 0 : this.wants === "bytes" && this.held > 0)
  }

  /** Wakes who waits, if what is waited for is there. */
  private tell(): void {
    if (this.told || this.wake === undefined || !this.isThere()) return
    this.told = true
    inStage("answers", this.wakeUp)
  }

  private readonly wakeUp = (): void => {
    const { wake } = this
    this.told = false
    this.wake = undefined
    wake?.()
  }

  private take(): Buffer | undefined {
    if (this.held === 0) return undefined
    const bytes = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks)
    const wasPaused = this.held >= mostHeld
    this.chunks = []
    this.held = 0
    // More may arrive before this returns.
    if (wasPaused) (this.decoder ?? this.controller)?.resume()
    return bytes
  }

  private accept(chunk: Buffer): void {
    if (this.state !== "open" || this.broken !== undefined) return
    const now = nowMs()
    this.quietSince = now
    this.total += chunk.length
    if (now - this.started > this.patience.wholeMs) return this.fail({ why: "late", of: "whole", patience: this.patience })
    if (!isSuccess(this.status) && this.total > longestErrorBody) {
      this.end()
      return this.stop()
    }
    if (this.total > this.mostBytes) return this.fail({ why: "too_large" })
    if (this.held === 0) this.chunks = [chunk]
    else this.chunks.push(chunk)
    this.held += chunk.length
    if (this.held >= mostHeld && this.wants !== "end") (this.decoder ?? this.controller)?.pause()
    this.tell()
  }

  private decode(encoding: string): void {
    const make = Object.hasOwn(decoders, encoding) ? decoders[encoding] : undefined
    if (make === undefined) return this.fail({ why: "encoding", encoding })
    this.decoder = make()
    this.decoder.on("data", (chunk: Buffer) => this.accept(chunk))
    this.decoder.on("end", () => this.end())
    this.decoder.on("error", (cause) => this.fail({ why: "failed", cause }))
  }

  private end(): void {
    if (this.state === "open") this.state = "ended"
    this.tell()
  }

  private fail(broken: Broken): void {
    if (this.state !== "open" || this.broken !== undefined) return
    this.broken = broken
    this.stop()
    this.tell()
  }

  /** Ends the connection, and with it the call. */
  private stop(): void {
    clearTimeout(this.timer)
    this.decoder?.destroy()
    if (this.controller !== undefined && !this.controller.aborted) this.controller.abort(closed)
  }

  /** When the patience of who waits ends, and for what. */
  private patienceEnds() {
    const { firstMs, idleMs, wholeMs } = this.patience
    const whole = this.started + wholeMs
    if (this.status === 0) return { due: Math.min(whole, this.started + firstMs), of: "head" as const }
    const beginning = !this.begun && this.wants !== "end"
    const part = beginning ? this.started + firstMs : this.quietSince + idleMs
    return whole <= part ? { due: whole, of: "whole" as const } : { due: part, of: beginning ? "first_token" as const : "bytes" as const }
  }

  private lookAt(time: number): void {
    clearTimeout(this.timer)
    this.looksAt = time
    this.timer = setTimeout(() => this.look(), Math.max(1, time - nowMs()))
  }

  private look(): void {
    const { due, of } = this.patienceEnds()
    const now = nowMs()
    if (now < due) return this.lookAt(due)
    if (this.wake !== undefined) return this.fail({ why: "late", of, patience: this.patience })
    // Nobody waits: it is the reader who takes its time.
    this.lookAt(now + this.patience.idleMs)
  }
}
