/** Every group of `/admin`. */
import type { OpenApi } from "effect/http-api"
import { KeysApi } from "./KeysApi.ts"
import { LogApi } from "./LogApi.ts"
import { ModelsApi, RoutingApi } from "./ModelsApi.ts"
import { ProvidersApi } from "./ProvidersApi.ts"
import { VaultApi } from "./VaultApi.ts"

export const adminGroups = [ProvidersApi, ModelsApi, RoutingApi, VaultApi, KeysApi, LogApi] as const

type Spec = OpenApi.OpenAPISpec

/** OpenAPI has no wildcards: the rest of a name with slashes is part of its `{name}` there. */
export const withNames = (spec: Record<string, unknown>): Record<string, unknown> => {
  const { paths } = spec as Pick<Spec, "paths">
  return {
    ...spec,
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, item]) => (path.endsWith("/*") ? [path.slice(0, -2), withoutRest(item)] : [path, item]))
    )
  }
}

const withoutRest = (item: Spec["paths"][string]) =>
  Object.fromEntries(
    Object.entries(item).map(([method, operation]) => [
      method,
      "parameters" in operation && Array.isArray(operation.parameters)
        ? { ...operation, parameters: operation.parameters.filter((field) => field.name !== "*") }
        : operation
    ])
  )
