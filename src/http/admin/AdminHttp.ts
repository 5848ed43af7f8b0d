/** The handlers of every group of `/admin`. */
import { Layer } from "effect"
import { KeysHttp } from "./KeysHttp.ts"
import { LogHttp } from "./LogHttp.ts"
import { ModelsHttp } from "./ModelsHttp.ts"
import { ProvidersHttp } from "./ProvidersHttp.ts"
import { RoutingHttp } from "./RoutingHttp.ts"
import { VaultHttp } from "./VaultHttp.ts"

export const AdminHttp = Layer.mergeAll(ProvidersHttp, ModelsHttp, RoutingHttp, VaultHttp, KeysHttp, LogHttp)
