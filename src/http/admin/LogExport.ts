/** The request log as a file: as CSV (RFC 4180) or as lines of JSON. Read page by page, so that it may be of any length. */
import { Effect, Option, Stream } from "effect"
import type { RequestFilter, RequestRow } from "../../account/Ledger.ts"
import type { StoreUnavailable } from "../../domain/RequestError.ts"
import { shownRequest } from "./LogWire.ts"

/** Rows of one page: small, since a read holds the event loop. */
const pageRows = 200

export const exportFormats = ["csv", "jsonl"] as const
export type ExportFormat = (typeof exportFormats)[number]

export const contentTypes: { readonly [F in ExportFormat]: string } = {
  csv: "text/csv; charset=utf-8; header=present",
  jsonl: "application/jsonl"
}

/** Fields of a request as they are shown, and those of its usage. */
const columns = [
  "id", "at", "event", "endpoint", "mode", "model", "provider", "key", "status", "error_code", "duration_ms", "prompt_tokens",
  "cached_tokens", "completion_tokens", "total_tokens", "estimated", "reserved_usd", "cost_usd"
] as const

/** A text that a spreadsheet would take for a formula gets a quote before it (OWASP, "CSV injection"). */
const cell = (value: string | number | boolean | null): string => {
  const text = value === null ? "" : String(value)
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll("\"", "\"\"")}"` : plain
}

const line = (cells: ReadonlyArray<string>): string => `${cells.join(",")}\r\n`

const formats: { readonly [F in ExportFormat]: { readonly head: string; readonly row: (row: RequestRow) => string } } = {
  csv: {
    head: line(columns),
    row: (row) => {
      const { usage, ...rest } = shownRequest(row)
      const fields = { ...rest, ...usage }
      return line(columns.map((column) => cell(fields[column])))
    }
  },
  jsonl: { head: "", row: (row) => `${JSON.stringify(shownRequest(row))}\n` }
}

interface Place {
  readonly before: string | undefined
  /** Rows that may still come. */
  readonly left: number
}

/** The file's bytes. A database that fails on the way breaks the file off, so that a part never looks like the whole. */
export const exported = (
  read: (filter: RequestFilter) => Effect.Effect<ReadonlyArray<RequestRow>, StoreUnavailable>,
  format: ExportFormat,
  { before, limit = Infinity, ...filter }: Partial<RequestFilter>
): Stream.Stream<Uint8Array, StoreUnavailable> => {
  const { head, row } = formats[format]
  const page = ({ before, left }: Place) => {
    const limit = Math.min(pageRows, left)
    return Effect.map(read({ ...filter, limit, ...(before === undefined ? {} : { before }) }), (rows) => {
      const last = rows.at(-1)
      const next = left - rows.length
      return [
        [(before === undefined ? head : "") + rows.map(row).join("")],
        last === undefined || rows.length < limit || next === 0 ? Option.none<Place>() : Option.some({ before: last.id, left: next })
      ] as const
    })
  }
  return Stream.encodeText(Stream.paginate({ before, left: limit }, page))
}
