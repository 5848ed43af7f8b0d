/**
 * Budgets: what each call can cost at most is reserved before it leaves, what is left over comes back when it is settled.
 *
 * There is one process, so the conditional update that reserves is a comparison and an addition between two turns of the event
 * loop. Counters are read from the ledger when a budget's period is first asked for, and made durable by the ledger's own rows:
 * a call's row, with its reservation, is committed before the call leaves, and an unclean stop settles open rows at their
 * reservation. Spending belongs to the period in which a call began, as it does on the ledger, so that a clock that jumps finds
 * every period as it was.
 */
import { Context, Effect, Layer, Semaphore } from "effect"
import type { Budget, BudgetPeriod, Window } from "../domain/Budget.ts"
import { everyone, windowOf } from "../domain/Budget.ts"
import type { ClientKey } from "../domain/ClientKey.ts"
import type { NanoDollars } from "../domain/Money.ts"
import { formatUsd } from "../domain/Money.ts"
import { remembered } from "../domain/Remembered.ts"
import type { StoreUnavailable } from "../domain/RequestError.ts"
import { BudgetExceeded } from "../domain/RequestError.ts"
import { Settings } from "../Settings.ts"
import * as Metrics from "../telemetry/Metrics.ts"
import { Events } from "./Events.ts"
import { impatiently, Ledger } from "./Ledger.ts"

/** What one call may spend. */
export interface Reservation {
  /** Books what the call cost in place of what was reserved; the first time only. */
  readonly settle: (cost: NanoDollars) => Effect.Effect<void>
}

export interface BudgetStanding {
  readonly spent: NanoDollars
  readonly reserved: NanoDollars
  readonly window: Window
}

export interface Spend {
  /** null: a caller without one. */
  readonly key: ClientKey | null
  /** The most that the call can cost. */
  readonly most: NanoDollars
  /** When it begins, Unix milliseconds, as on the ledger. */
  readonly at: number
}

export class Budgets extends Context.Service<Budgets, {
  /** Whether a budget has to pay this caller's calls. */
  readonly applies: (key: ClientKey | null) => boolean
  /** Reserves the most that a call can cost of every budget that has to pay it, or nothing. Done when called, if they are known. */
  readonly reserve: (spend: Spend) => Effect.Effect<Reservation, BudgetExceeded | StoreUnavailable>
  /** What a key's budget has paid in the period of this moment; undefined: it has none. */
  readonly standing: (key: ClientKey, at: number) => Effect.Effect<BudgetStanding | undefined, StoreUnavailable>
}>()("tokenhub/Budgets") {
  static readonly layer: Layer.Layer<Budgets, never, Events | Ledger | Settings> = Layer.effect(
    Budgets,
    Effect.gen(function*() {
      const events = yield* Events
      const ledger = yield* Ledger
      const { budgetPeriod, budgetUsd } = yield* Settings
      const context = yield* Effect.context<never>()
      const loading = yield* Semaphore.make(1)
      const shared: Budget | null = budgetUsd === null ? null : { amount: budgetUsd, period: budgetPeriod }
      const accounts = new Map<string, ReadonlyArray<Account>>()

      const keyless = shared === null ? [] : [{ owner: everyone, budget: shared }]
      const ofKey = remembered((key: ClientKey) => (key.budget === null ? keyless : [{ owner: key.id, budget: key.budget }, ...keyless]))
      const budgetsOf = (key: ClientKey | null): ReadonlyArray<{ readonly owner: string; readonly budget: Budget }> => (key === null ? keyless : ofKey(key))

      const applies = (key: ClientKey | null): boolean => budgetsOf(key).length > 0

      /** Without a calendar, which costs more than all else about a budget. */
      const known = (owner: string, budget: Budget, at: number): Account | undefined => {
        const account = accounts.get(owner)?.find((account) => account.period === budget.period && isWithin(account, at))
        if (account === undefined || account.budget === budget) return account
        account.budget = budget
        // One that was raised may run out once more.
        account.told = lower(account.told, percentOf(account))
        return account
      }

      const load = (owner: string, budget: Budget, at: number): Effect.Effect<Account, StoreUnavailable> =>
        Effect.gen(function*() {
          const loaded = known(owner, budget, at)
          if (loaded !== undefined) return loaded
          const window = windowOf(budget.period, at)
          const spent = yield* ledger.spent({ ...window, ...(owner === everyone ? {} : { clientKey: owner }) })
          const account: Account = { owner, period: budget.period, window, budget, spent, reserved: 0n, told: 0 }
          account.told = percentOf(account)
          // Periods that are over go once nothing of theirs is open.
          const open = (accounts.get(owner) ?? []).filter(({ reserved }) => reserved > 0n)
          accounts.set(owner, [...open, account])
          yield* Metrics.budgetUsed({ owner, ratio: ratioOf(account) })
          return account
        }).pipe(
          loading.withPermits(1),
          // The wait for those that load before it included.
          impatiently
        )

      const account = (owner: string, budget: Budget, at: number): Effect.Effect<Account, StoreUnavailable> => {
        const found = known(owner, budget, at)
        return found === undefined ? load(owner, budget, at) : Effect.succeed(found)
      }

      const alert = (account: Account, percent: 80 | 100) =>
        Effect.suspend(() => {
          if (percent <= account.told) return Effect.void
          account.told = percent
          const { budget, owner, spent, window } = account
          return Effect.all([
            events.alert({ owner, percent, spent, budget, window }),
            Metrics.budgetAlert({ owner, percent }),
            Effect.logWarning(`${percent} % of a budget are gone`).pipe(
              Effect.annotateLogs({ owner, spent_usd: formatUsd(spent), budget_usd: formatUsd(budget.amount), period: budget.period })
            )
          ], { discard: true })
        })

      const look = (account: Account): Effect.Effect<void> => {
        const percent = percentOf(account)
        const used = Metrics.budgetUsed({ owner: account.owner, ratio: ratioOf(account) }, context)
        return percent === 0 || percent <= account.told ? used : Effect.andThen(used, alert(account, percent))
      }

      const refuse = (account: Account, most: NanoDollars) =>
        Effect.suspend(() => {
          const { budget: { amount, period }, owner, reserved, spent } = account
          const error = new BudgetExceeded({
            message: `The call may cost ${formatUsd(most)} $; of ${
              owner === everyone ? "the budget of all callers" : "this key's budget"
            } of ${formatUsd(amount)} $ ${perPeriod[period]}, ${formatUsd(spent)} $ are spent and ${formatUsd(reserved)} $ reserved for running calls`
          })
          return Effect.andThen(spent + most > amount ? alert(account, 100) : Effect.void, Effect.fail(error))
        })

      /** Spending of a call that began at this moment, in every period of the owner that is looked at. */
      const book = (owner: string, at: number, cost: NanoDollars): Effect.Effect<void> => {
        let looks: Effect.Effect<void> = Effect.void
        for (const account of accounts.get(owner) ?? []) {
          if (!isWithin(account, at)) continue
          account.spent += cost
          looks = looks === Effect.void ? look(account) : Effect.andThen(looks, look(account))
        }
        return looks
      }

      /** The accounts that pay, all of one moment: while one is read, another may make room for another period's. */
      const payersOf = (key: ClientKey | null, at: number): Effect.Effect<ReadonlyArray<Account>, StoreUnavailable> => {
        const wanted = budgetsOf(key)
        const payers = wanted.flatMap(({ budget, owner }) => known(owner, budget, at) ?? [])
        return payers.length === wanted.length
          ? Effect.succeed(payers)
          : Effect.flatMap(Effect.forEach(wanted, ({ budget, owner }) => account(owner, budget, at)), () => payersOf(key, at))
      }

      const reserve = ({ at, key, most }: Spend): Effect.Effect<Reservation, BudgetExceeded | StoreUnavailable> =>
        Effect.flatMapEager(payersOf(key, at), (payers) => {
          const broke = payers.find(({ budget, reserved, spent }) => most > 0n && spent + reserved + most > budget.amount)
          if (broke !== undefined) return refuse(broke, most)
          for (const payer of payers) payer.reserved += most
          let settled = false
          return Effect.succeed({
            settle: (cost: NanoDollars) => {
              if (settled) return Effect.void
              settled = true
              for (const payer of payers) payer.reserved -= most
              const own = key === null ? Effect.void : book(key.id, at, cost)
              const all = book(everyone, at, cost)
              return own === Effect.void ? all : Effect.andThen(own, all)
            }
          })
        })

      return Budgets.of({
        applies,
        reserve,
        standing: (key, at) =>
          key.budget === null
            ? Effect.succeed(undefined)
            : Effect.map(account(key.id, key.budget, at), ({ reserved, spent, window }) => ({ reserved, spent, window }))
      })
    })
  )
}

/** One budget in one period. */
interface Account {
  readonly owner: string
  readonly period: BudgetPeriod
  readonly window: Window
  /** As it was when it was last asked for. */
  budget: Budget
  /** Of calls that are settled. */
  spent: NanoDollars
  /** For calls that run. */
  reserved: NanoDollars
  /** The alert that was given last. */
  told: 0 | 80 | 100
}

const isWithin = ({ window: { since, until } }: Account, at: number): boolean => at >= since && at < until

const perPeriod = { day: "a day", month: "a month", total: "in all" } as const

const percentOf = ({ budget: { amount }, spent }: Account): 0 | 80 | 100 =>
  spent === 0n && amount === 0n ? 0 : spent >= amount ? 100 : spent * 5n >= amount * 4n ? 80 : 0

const lower = <A extends number>(a: A, b: A): A => (a < b ? a : b)

const ratioOf = ({ budget: { amount }, spent }: Account): number => (amount === 0n ? (spent === 0n ? 0 : 1) : Number(spent) / Number(amount))
