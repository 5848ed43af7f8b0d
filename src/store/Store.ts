/** All stores on one database. */
import { Layer } from "effect"
import { AnswerStore } from "./AnswerStore.ts"
import { AuditStore } from "./AuditStore.ts"
import { ClientKeyStore } from "./ClientKeyStore.ts"
import { Database } from "./Database.ts"
import { LedgerStore } from "./LedgerStore.ts"
import { ModelStore } from "./ModelStore.ts"
import { PromptStore } from "./PromptStore.ts"
import { ProviderStore } from "./ProviderStore.ts"
import { ResponseStore } from "./ResponseStore.ts"
import { SettingStore } from "./SettingStore.ts"
import { VaultStore } from "./VaultStore.ts"

const stores = Layer.mergeAll(
  ProviderStore.layer,
  ModelStore.layer,
  VaultStore.layer,
  SettingStore.layer,
  ClientKeyStore.layer,
  AuditStore.layer,
  LedgerStore.layer,
  PromptStore.layer,
  ResponseStore.layer,
  AnswerStore.layer
)

/** The database of `TOKENHUB_DB_PATH` and every store on it. */
export const layer = stores.pipe(Layer.provideMerge(Database.layer))

/** The same on a file of its own, in a folder that goes with the layer. */
export const layerTest = stores.pipe(Layer.provideMerge(Database.layerTest))
