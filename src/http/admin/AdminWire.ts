/** What the admin contracts share: fields, checks, pages, and how a field is named on the wire. */
import { Context, Effect, Schema, SchemaGetter, SchemaIssue } from "effect"
import { HttpApi } from "effect/http-api"
import { hash } from "node:crypto"

export const described = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

/** A field that may be absent. */
export const optional = Schema.optionalKey

/** A field that may be absent, or null for "none". */
export const nullable = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

export const wholeBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A limit a minute. */
export const perMinute = wholeBetween(1, 1_000_000_000)

export const Timestamp = described(Schema.String, "ISO 8601, UTC")

export const Dollars = described(Schema.String, "Dollars with nine decimals")

const parseOptions = { onExcessProperty: "error", errors: "all" } as const

/** Admin bodies and queries have no room for fields that nobody reads: each is an error that names it. */
export const strict = Context.merge(
  Context.make(HttpApi.PayloadParseOptions, parseOptions),
  Context.make(HttpApi.QueryParseOptions, parseOptions)
)

/** A struct that says so of a field which it does not know. */
export const struct = <const F extends Schema.Struct.Fields>(fields: F) =>
  Schema.Struct(fields).annotate({ messageUnexpectedKey: "is not a field of this request" })

/** Unix milliseconds as ISO 8601. */
export const iso = (at: number): string => new Date(at).toISOString()

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** The fields that have a value: what was absent on the wire stays absent. */
export const present = <T extends object>(fields: T): Present<T> =>
  // Leaving out what is undefined is what the type says.
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>

/**
 * The name at the end of a path like `/models/:name/*`: it may contain slashes, percent-encoded or as they are. The router
 * gives what stands before the first plain slash and what stands behind it.
 */
export const slashedName = Schema.Struct({ name: Schema.String, "*": Schema.optionalKey(Schema.String) }).pipe(
  Schema.decodeTo(Schema.Struct({ name: Schema.NonEmptyString }), {
    decode: SchemaGetter.transform(({ "*": rest, name }) => ({ name: rest === undefined ? name : `${name}/${rest}` })),
    encode: SchemaGetter.transform(({ name }) => ({ name }))
  })
)

const isoPattern = /^(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?<zone>Z|[+-]\d{2}:?\d{2})?)?$/

const moment = (text: string): number | undefined => {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  const match = isoPattern.exec(text)
  if (match === null) return undefined
  const { day, month, year, zone } = match.groups ?? {}
  // A 30th of February would be taken for the 2nd of March.
  if (new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() !== Number(day)) return undefined
  const at = Date.parse(text.includes("T") && zone === undefined ? `${text}Z` : text)
  return Number.isNaN(at) ? undefined : at
}

/** A moment in a query: ISO 8601 (UTC unless it names a zone) or Unix milliseconds. */
export const Moment = Schema.String.annotate({ description: "ISO 8601, or Unix milliseconds" }).pipe(
  Schema.decodeTo(Schema.Number, {
    decode: SchemaGetter.transformEffect((text: string) => {
      const at = moment(text)
      return at === undefined
        ? Effect.fail(new SchemaIssue.InvalidValue({ message: "must be a time: ISO 8601, or Unix milliseconds" }))
        : Effect.succeed(at)
    }),
    encode: SchemaGetter.transform(iso)
  })
)

/** Shorter texts may be guessed, and a fingerprint would confirm the guess. */
const leastFingerprinted = 20

/** The first 8 hex digits of a key's SHA-256, to tell keys apart in the audit log; null for what may be a password. */
export const fingerprint = (secret: string): string | null =>
  secret.length < leastFingerprinted || /\s/.test(secret) ? null : hash("sha256", secret, "hex").slice(0, 8)

export interface Page<A> {
  readonly items: ReadonlyArray<A>
  /** What `before` is for the page after this one; null: this is the last. */
  readonly next: A | null
}

/** A page of `limit` out of up to `limit + 1` rows, newest first. */
export const pageOf = <A>(rows: ReadonlyArray<A>, limit: number): Page<A> => {
  const items = rows.slice(0, limit)
  return { items, next: rows.length > limit ? items.at(-1) ?? null : null }
}

/** Headers of an answer that is saved as a file, named by its time: `tokenhub-20260131T235959Z.db`. */
export const fileHeaders = (name: string, extension: string, at: number): { readonly [name: string]: string } => ({
  "content-disposition": `attachment; filename="${name}-${iso(at).slice(0, 19).replaceAll(/[-:]/g, "")}Z.${extension}"`,
  "cache-control": "no-store"
})
