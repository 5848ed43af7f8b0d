/** A client key: what it opens, and how much of it. */
import type { Budget } from "./Budget.ts"
import type { ModelCard } from "./Catalog.ts"
import type { ClientKeyId } from "./Ids.ts"

/** `chat`: everything that asks a model for an answer or counts its tokens; `embeddings`; `models`: the list of models. */
export const scopes = ["chat", "embeddings", "models"] as const
export type Scope = (typeof scopes)[number]

/** What an admin sets. null: no limit. */
export interface ClientKeySettings {
  readonly name: string
  readonly scopes: ReadonlyArray<Scope> | null
  /** Exact names or aliases, or the beginning of such a name and a `*`. */
  readonly models: ReadonlyArray<string> | null
  readonly budget: Budget | null
  /** Requests a minute. */
  readonly rpm: number | null
  /** Tokens a minute, prompt and completion together. */
  readonly tpm: number | null
  /** From then on it opens nothing. Unix milliseconds. */
  readonly expiresAt: number | null
}

/** A key without its secret. Times are Unix milliseconds. */
export interface ClientKey extends ClientKeySettings {
  readonly id: ClientKeyId
  /** The first characters of the key, to recognise it by. */
  readonly prefix: string
  readonly createdAt: number
  readonly revokedAt: number | null
  /** Until when the secret before the last rotation still opens what the new one does; null: there is none. */
  readonly previousUntil: number | null
  /** At most a minute behind after an unclean stop; null: never. */
  readonly lastUsedAt: number | null
}

export const unlimited: Omit<ClientKeySettings, "name"> = {
  scopes: null,
  models: null,
  budget: null,
  rpm: null,
  tpm: null,
  expiresAt: null
}

export const hasScope = (key: ClientKeySettings | null, scope: Scope): boolean => key === null || key.scopes === null || key.scopes.includes(scope)

const matches = (pattern: string, name: string): boolean =>
  pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern

/** Whether a caller may ask this model; one without a key may ask all. */
export const allowsModel = (key: ClientKeySettings | null, { aliases, name }: Pick<ModelCard, "name" | "aliases">): boolean =>
  key === null || key.models === null || key.models.some((pattern) => matches(pattern, name) || aliases.some((alias) => matches(pattern, alias)))
