import type { Bench } from "./Bench.ts"

/** A test against the bench, which it finds with no calls and no scripts. */
export interface Case {
  readonly group: string
  readonly name: string
  readonly run: (bench: Bench) => Promise<void>
}
