import type { NanoDollars } from "../domain/Money.ts"
import type { Usage } from "../domain/Usage.ts"
import { zero } from "../domain/Usage.ts"
import { nanos, whole } from "./LedgerRows.ts"

const hourMs = 3_600_000

/** Admin requests and counts of unauthenticated ones are events of the log, not usage of models. */
export const isUsage = (event: string) => event !== "admin" && event !== "unauthenticated"

/** Who and when: one row of `usage_hourly`. */
interface Subject {
  /** Unix milliseconds. */
  readonly at: number
  readonly model: string | null
  readonly provider: string | null
  readonly clientKey: string | null
  readonly mode: string | null
}

interface Gain {
  readonly requests?: number
  readonly attempts?: number
  readonly usage?: Usage
  readonly cost?: NanoDollars
}

interface Sum {
  readonly names: ReadonlyArray<string | number>
  readonly amounts: readonly [
    requests: number,
    attempts: number,
    promptTokens: number,
    cachedTokens: number,
    completionTokens: number,
    cost: NanoDollars
  ]
}

/** What the hours of one group of writes gained, to be added to `usage_hourly` once an hour and name. */
export class UsageTally {
  private readonly sums = new Map<string, Sum>()

  add(subject: Subject, { attempts = 0, cost = 0n, requests = 0, usage = zero }: Gain): void {
    const { clientKey, mode, provider } = subject
    const at = whole(subject.at)
    // Without a provider the model is only what a client asked for, and clients can think up any number of names.
    const model = provider === null ? null : subject.model
    const names = [at - at % hourMs, model ?? "", provider ?? "", clientKey ?? "", mode ?? ""]
    const key = names.join("\0")
    const sum = this.sums.get(key)?.amounts ?? [0, 0, 0, 0, 0, 0n]
    this.sums.set(key, {
      names,
      amounts: [
        sum[0] + requests,
        sum[1] + attempts,
        sum[2] + whole(usage.promptTokens),
        sum[3] + whole(usage.cachedTokens),
        sum[4] + whole(usage.completionTokens),
        sum[5] + nanos(cost)
      ]
    })
  }

  /** Parameters in the order of the columns of `usage_hourly`. */
  *rows(): Iterable<ReadonlyArray<string | number | bigint>> {
    for (const { amounts, names } of this.sums.values()) yield [...names, ...amounts]
  }
}
