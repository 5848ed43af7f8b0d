/** Log lines: a JSON object each, or readable ones on a terminal. Nothing that looks like a key gets into either. */
import type { LogLevel } from "effect"
import { Array, Cause, Console, Effect, Formatter, Logger, References } from "effect"
import { inStage } from "../domain/Stages.ts"
import { scrub } from "./Redaction.ts"

/** `timestamp`, `level` and `message` first, then annotations (`request_id`, …) and the fields of logged objects. */
type Line = Record<string, unknown> & { readonly timestamp: string; readonly level: string; readonly message: string }

const isPlain = (value: unknown): value is object =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

const textOf = (part: unknown): string => (typeof part === "string" ? part : Formatter.format(part))

/** Adds the fields that a line has not yet. */
const addFields = (line: Line, fields: object): void => {
  for (const name of Object.keys(fields)) if (!(name in line)) line[name] = (fields as Line)[name]
}

const line = ({ cause, date, fiber, logLevel, message }: Logger.Options<unknown>): Line => {
  const parts = Array.ensure(message)
  const line: Line = {
    timestamp: date.toISOString(),
    level: logLevel.toLowerCase(),
    message: parts.filter((part) => !isPlain(part)).map(textOf).join(" ")
  }
  addFields(line, fiber.getRef(References.CurrentLogAnnotations))
  for (const part of parts) if (isPlain(part)) addFields(line, part)
  if (cause.reasons.length > 0) line["cause"] = Cause.pretty(cause)
  return line
}

const colours: Record<string, number> = { trace: 90, debug: 34, info: 32, warn: 33, error: 31, fatal: 31 }

const readable = ({ cause, level, message, timestamp, ...fields }: Line): string => {
  const shown = Object.entries(fields).map(([name, value]) => ` ${name}=${textOf(value)}`).join("")
  const label = `\u001b[${colours[level] ?? 0}m${level.toUpperCase().padEnd(5)}\u001b[0m`
  const head = `${timestamp.slice(11, 23)} ${label} ${message}${shown}`
  return cause === undefined ? head : `${head}\n${String(cause)}`
}

/** How long lines wait for others, in milliseconds, and how many do at most: made turn by turn, each cost half as much again. */
const gathering = { ms: 20, lines: 256 }

/** Lines that wait; they are made one after the other. */
let waiting: Array<() => string> = []
let gathered: NodeJS.Timeout | undefined

const flush = (): void => {
  clearTimeout(gathered)
  gathered = undefined
  if (waiting.length === 0) return
  const lines = waiting
  waiting = []
  process.stdout.write(scrub(lines.map((text) => `${text()}\n`).join("")))
}

// Whatever ends the process, its last lines are told; standard output is written at once where it is a file, a pipe or a terminal.
process.on("exit", flush)

/** Levels whose lines may wait: who looks for the cause of an end that nobody could tell wants all others. */
const patient: ReadonlySet<LogLevel.LogLevel> = new Set(["Info", "Debug", "Trace"])

const tell = (level: LogLevel.LogLevel, text: () => string): void => {
  waiting.push(text)
  if (!patient.has(level) || waiting.length === gathering.lines) inStage("lines", flush)
  else gathered ??= setTimeout(flush, gathering.ms).unref()
}

/** Writes lines to standard output, or to the fiber's own console where a test has put one. */
const printed = (format: (line: Line) => string): Logger.Logger<unknown, void> =>
  Logger.make((options) => {
    const told = line(options)
    const console = options.fiber.getRef(Console.Console)
    if (console === globalThis.console) tell(options.logLevel, () => format(told))
    else console.log(scrub(format(told)))
  })

/** Most lines hold nothing but texts and numbers, which JSON.stringify writes at once. */
const isFlat = (line: Line): boolean => {
  for (const name in line) if (typeof line[name] === "object" || typeof line[name] === "bigint") return false
  return true
}

/** One JSON object a line, on standard output. */
export const json = printed((line) => (isFlat(line) ? JSON.stringify(line) : Formatter.formatJson(line)))

/** For people at a terminal. */
export const pretty = printed(readable)

/** Puts `request_id` on every line that the effect logs. */
export const withRequestId = (id: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.annotateLogs(effect, "request_id", id)
