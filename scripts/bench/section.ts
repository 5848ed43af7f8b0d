/** What each part of the bench gives back, beside the tables that it prints. */
import type { Ratio } from "./baseline.ts"
import type { Figures, Named } from "./measure.ts"
import type { Running } from "./subjects.ts"

export interface Chart {
  /** Of its file, without the ending. */
  readonly name: string
  readonly title: string
  readonly x: string
  readonly y: string
  readonly series: ReadonlyArray<{ readonly name: string; readonly points: ReadonlyArray<readonly [number, number]> }>
}

export interface Section {
  readonly figures: object
  readonly ratios: ReadonlyArray<Ratio>
  readonly charts: ReadonlyArray<Chart>
}

/** By their names on the command line; `bare` is what the others are compared with. */
export type Subjects = ReadonlyArray<Named<Running>>

export const rounded = (value: number, digits = 1): number => Math.round(value * 10 ** digits) / 10 ** digits

export const milliseconds = (us: number): number => rounded(us / 1000, 3)

/** `a / b` of two subjects' figures, or NaN where one is missing. */
export const ratioOf = (by: ReadonlyMap<string, Figures>, figure: keyof Figures, a: string, b = "bare"): number =>
  (by.get(a)?.[figure] ?? Number.NaN) / (by.get(b)?.[figure] ?? Number.NaN)

/** Without those that could not be measured. */
export const known = (ratios: ReadonlyArray<Ratio>): ReadonlyArray<Ratio> => ratios.filter(({ value }) => Number.isFinite(value))
