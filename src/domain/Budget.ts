/** What may be spent in which time. */
import type { NanoDollars } from "./Money.ts"

/** Calendar days and months are UTC; `total`: for good. */
export const budgetPeriods = ["day", "month", "total"] as const
export type BudgetPeriod = (typeof budgetPeriods)[number]

export interface Budget {
  readonly amount: NanoDollars
  readonly period: BudgetPeriod
}

/** From `since` on, before `until`: Unix milliseconds, whole hours. */
export interface Window {
  readonly since: number
  readonly until: number
}

/** The owner of the budget that all callers share. */
export const everyone = "all"

/** How much of a budget is gone. */
export interface BudgetAlert {
  /** A client key's id, or `everyone`. */
  readonly owner: string
  /** 100: it is spent, or what is left of it can't pay a call that was asked for. */
  readonly percent: 80 | 100
  readonly spent: NanoDollars
  readonly budget: Budget
  readonly window: Window
}

/** The day or month in which a moment (Unix milliseconds) lies. */
export const windowOf = (period: BudgetPeriod, at: number): Window => {
  const date = new Date(at)
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
  switch (period) {
    case "day":
      return { since: Date.UTC(year, month, day), until: Date.UTC(year, month, day + 1) }
    case "month":
      return { since: Date.UTC(year, month), until: Date.UTC(year, month + 1) }
    case "total":
      return { since: 0, until: Infinity }
  }
}
