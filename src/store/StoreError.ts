import { Data } from "effect"

/** The database did not do what was asked. `unavailable`: busy, full or read-only, so a later try may work; `conflict`: another writer was first. */
export class StoreError extends Data.TaggedError("StoreError")<{
  readonly kind: "unavailable" | "conflict" | "corrupt" | "other"
  /** Without SQL text. */
  readonly message: string
  readonly cause?: unknown
}> {}
