/** Client keys on the wire: an admin's fields to settings, and a key to what is shown. Pure functions. */
import { Result } from "effect"
import type { BudgetStanding } from "../../account/Budgets.ts"
import type { Budget } from "../../domain/Budget.ts"
import type { ClientKey, ClientKeySettings } from "../../domain/ClientKey.ts"
import { formatUsd } from "../../domain/Money.ts"
import { InvalidRequest } from "../../domain/RequestError.ts"
import { iso, present } from "./AdminWire.ts"
import { mapped } from "../Json.ts"
import type { KeyChanges } from "./KeysApi.ts"

const defaultPeriod = "month"

const budgetOf = (
  { budget_period: period, budget_usd: amount }: KeyChanges,
  before: Budget | null
): Result.Result<Budget | null | undefined, InvalidRequest> => {
  const paid = amount === undefined ? before?.amount : amount ?? undefined
  if (paid !== undefined) return Result.succeed({ amount: paid, period: period ?? before?.period ?? defaultPeriod })
  return period === undefined
    ? Result.succeed(amount === null ? null : undefined)
    : Result.fail(new InvalidRequest({ message: "budget_period: needs a budget_usd", param: "budget_period" }))
}

/** The settings that are given; `before`: the budget as it is. */
export const settingsOf = (given: KeyChanges, before: Budget | null): Result.Result<Partial<ClientKeySettings>, InvalidRequest> =>
  Result.map(budgetOf(given, before), (budget): Partial<ClientKeySettings> =>
    present({
      name: given.name,
      scopes: given.scopes,
      models: given.models,
      budget,
      rpm: given.rpm,
      tpm: given.tpm,
      expiresAt: given.expires_at
    }))

const isoOrNull = (at: number | null): string | null => mapped(at, iso) ?? null

export const shownKey = (key: ClientKey, standing: BudgetStanding | undefined) => ({
  id: key.id,
  name: key.name,
  prefix: key.prefix,
  created_at: iso(key.createdAt),
  revoked_at: isoOrNull(key.revokedAt),
  expires_at: isoOrNull(key.expiresAt),
  last_used_at: isoOrNull(key.lastUsedAt),
  previous_key_until: isoOrNull(key.previousUntil),
  scopes: key.scopes,
  models: key.models,
  budget_usd: key.budget === null ? null : formatUsd(key.budget.amount),
  budget_period: key.budget?.period ?? null,
  spent_usd: standing === undefined ? null : formatUsd(standing.spent),
  reserved_usd: standing === undefined ? null : formatUsd(standing.reserved),
  rpm: key.rpm,
  tpm: key.tpm
})
