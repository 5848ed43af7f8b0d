/** Ratios of one run: what they may be, and what they were when the baseline was taken. Times and rates differ by machine. */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** Lower is better for all of them. */
export interface Ratio {
  readonly name: string
  readonly value: number
  /** What it should be at most; undefined: only watched. */
  readonly target?: number
}

const file = fileURLToPath(new URL("baseline.json", import.meta.url))

/** How much worse than the baseline a ratio may be. */
const mostLoss = 1.25

type Baseline = Readonly<Record<string, number>>

const read = (): Baseline => JSON.parse(readFileSync(file, "utf8"))

/** Makes these ratios the baseline; those that this run did not measure stay. */
export const save = (ratios: ReadonlyArray<Ratio>): void => {
  let before: Baseline = {}
  try {
    before = read()
  } catch {
    // The first baseline.
  }
  const entries = { ...before, ...Object.fromEntries(ratios.map(({ name, value }) => [name, Math.round(value * 1000) / 1000])) }
  writeFileSync(file, `${JSON.stringify(entries, null, 2)}\n`)
}

/** The ratios that are worse than the baseline allows, one line each. */
export const losses = (ratios: ReadonlyArray<Ratio>): ReadonlyArray<string> => {
  const before = read()
  return ratios.flatMap(({ name, value }) => {
    const was = before[name]
    return was !== undefined && value > was * mostLoss ? [`${name}: ${value.toFixed(2)}, the baseline is ${was.toFixed(2)}`] : []
  })
}
