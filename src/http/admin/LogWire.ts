/** Rows of the ledger and the audit log as the wire shows them. Pure functions. */
import type { AuditEntry } from "../../account/AuditLog.ts"
import type { RequestRow, UsageRow } from "../../account/Ledger.ts"
import type { Attempt } from "../../domain/Attempt.ts"
import type { BudgetAlert } from "../../domain/Budget.ts"
import { everyone } from "../../domain/Budget.ts"
import { formatUsd } from "../../domain/Money.ts"
import type { Usage } from "../../domain/Usage.ts"
import { totalTokens } from "../../domain/Usage.ts"
import { iso } from "./AdminWire.ts"

const tokensOf = (usage: Usage) => ({
  prompt_tokens: usage.promptTokens,
  cached_tokens: usage.cachedTokens,
  completion_tokens: usage.completionTokens,
  total_tokens: totalTokens(usage),
  estimated: usage.estimated
})

export const shownRequest = (row: RequestRow) => ({
  id: row.id,
  at: iso(row.at),
  event: row.event,
  endpoint: row.endpoint,
  mode: row.mode,
  model: row.model,
  provider: row.provider,
  key: row.clientKey,
  status: row.status,
  error_code: row.errorCode,
  duration_ms: row.durationMs,
  usage: tokensOf(row.usage),
  reserved_usd: formatUsd(row.reserved),
  cost_usd: formatUsd(row.cost)
})

export const shownAttempt = (attempt: Attempt) => ({
  index: attempt.index,
  step: attempt.step,
  model: attempt.model,
  provider: attempt.provider,
  outcome: attempt.outcome,
  ...(attempt.reason === undefined ? {} : { reason: attempt.reason }),
  started_at: iso(attempt.startedAt),
  duration_ms: attempt.durationMs,
  ...(attempt.timeToFirstTokenMs === undefined ? {} : { time_to_first_token_ms: attempt.timeToFirstTokenMs }),
  usage: tokensOf(attempt.usage),
  cost_usd: formatUsd(attempt.cost)
})

/** `key` is null for the budget of all callers together. */
export const shownAlert = ({ budget, owner, percent, spent, window }: BudgetAlert) => ({
  key: owner === everyone ? null : owner,
  percent,
  spent_usd: formatUsd(spent),
  budget_usd: formatUsd(budget.amount),
  period: budget.period,
  since: budget.period === "total" ? null : iso(window.since)
})

type Sums = Omit<UsageRow, "group" | "bucket">

const none: Sums = { requests: 0, attempts: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0, cost: 0n }

const sumsOf = (sums: Sums) => ({
  requests: sums.requests,
  attempts: sums.attempts,
  prompt_tokens: sums.promptTokens,
  cached_tokens: sums.cachedTokens,
  completion_tokens: sums.completionTokens,
  total_tokens: sums.promptTokens + sums.completionTokens,
  cost_usd: formatUsd(sums.cost)
})

export const shownUsage = (row: UsageRow) => ({
  group: row.group,
  ...(row.bucket === undefined ? {} : { bucket: iso(row.bucket) }),
  ...sumsOf(row)
})

export const totalsOf = (rows: ReadonlyArray<UsageRow>) =>
  sumsOf(rows.reduce((sum, row) => ({
    requests: sum.requests + row.requests,
    attempts: sum.attempts + row.attempts,
    promptTokens: sum.promptTokens + row.promptTokens,
    cachedTokens: sum.cachedTokens + row.cachedTokens,
    completionTokens: sum.completionTokens + row.completionTokens,
    cost: sum.cost + row.cost
  }), none))

/** The log keeps JSON texts; one that was cut is shown as it is. */
const parsed = (json: string | null): unknown => {
  if (json === null) return null
  try {
    return JSON.parse(json)
  } catch {
    return json
  }
}

export const shownChange = (entry: AuditEntry) => ({
  id: entry.id,
  at: iso(entry.at),
  actor: entry.actor,
  action: entry.action,
  target: entry.target,
  before: parsed(entry.before),
  after: parsed(entry.after),
  request_id: entry.requestId
})
