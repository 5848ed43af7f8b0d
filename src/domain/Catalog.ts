/** Cards: what TokenHub knows of a provider instance and of a model. */
import type { ModelName, ProviderName } from "./Ids.ts"
import type { Price } from "./Money.ts"

export const capabilities = ["tools", "vision", "json_schema", "streaming", "reasoning", "embeddings"] as const
export type Capability = (typeof capabilities)[number]

/** Milliseconds; absent: the default of Settings. */
export interface Timeouts {
  readonly connectMs?: number
  readonly firstByteMs?: number
  readonly streamIdleMs?: number
  readonly wholeCallMs?: number
}

export interface ProviderCard {
  readonly name: ProviderName
  /** A row of the vendors' table or a registered type. */
  readonly providerType: string
  /** As the vendor's own SDK takes it, without a trailing slash; null: the type's own. */
  readonly baseUrl: string | null
  /** An environment variable that holds the key. */
  readonly apiKeyEnv: string | null
  readonly timeouts: Timeouts
  readonly maxConcurrency: number | null
  readonly allowPrivate: boolean
  readonly enabled: boolean
  /** `admin`: set over HTTP; `environment`: made at start from `{PROVIDER}_API_KEY`; `mock`: made at a first start without any. */
  readonly source: "admin" | "environment" | "mock"
}

export interface ModelCard {
  readonly name: ModelName
  readonly provider: ProviderName
  /** What the provider calls the model. */
  readonly upstreamName: string
  /** Tokens that prompt and completion may have together. */
  readonly contextSize: number
  /** The most completion tokens of one answer; null: unknown. */
  readonly maxOutputTokens: number | null
  /** Higher is preferred. */
  readonly weight: number
  /** null: unpriced. */
  readonly price: Price | null
  readonly capabilities: ReadonlySet<Capability>
  readonly aliases: ReadonlyArray<ModelName>
  /** Calls and tokens a minute; absent: no limit. */
  readonly rpm?: number
  readonly tpm?: number
  readonly enabled: boolean
  readonly source: "admin" | "catalogue" | "mock"
}

/** How a provider instance comes by its key; `locked`: it lies in the vault, which is locked. */
export type CredentialState = "vault" | "none" | "locked" | `env:${string}`
