/** The OpenAPI document where effect's own says more than is true. Pure functions on JSON. */

type Json = { readonly [name: string]: unknown }

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const field = (value: unknown, name: string): unknown => (isObject(value) ? value[name] : undefined)

const mapValues = (value: unknown, f: (inner: unknown, name: string) => unknown): Json =>
  Object.fromEntries(Object.entries(isObject(value) ? value : {}).map(([name, inner]) => [name, f(inner, name)]))

/** The same schema, with room for fields that it does not name. */
const open = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(open)
  if (!isObject(schema)) return schema
  return Object.fromEntries(
    Object.entries(schema).flatMap(([key, inner]) => (key === "additionalProperties" && inner === false ? [] : [[key, open(inner)]]))
  )
}

const componentPrefix = "#/components/schemas/"

/** Names of the components that a schema refers to. */
const referred = (schema: unknown): ReadonlyArray<string> => {
  if (Array.isArray(schema)) return schema.flatMap(referred)
  if (!isObject(schema)) return []
  const ref = schema["$ref"]
  return typeof ref === "string" && ref.startsWith(componentPrefix)
    ? [ref.slice(componentPrefix.length)]
    : Object.values(schema).flatMap(referred)
}

/** An admin's body has no room for fields that nobody reads, but for a chat request to explain. */
const isStrict = (path: string): boolean => path.startsWith("/admin/") && path !== "/admin/routing/explain"

/** Options of TokenHub's own, refused by name in every body that has them. */
const options = /^(?:RoutingPolicy|TokenHubOptions)(?:_\d+)?$/

/**
 * Requests of clients and answers may have fields that no schema names: those of a vendor's protocol are handed on as they are,
 * and later versions add some. Only what is refused by name stays closed.
 */
export const withOpenObjects = (spec: Json): Json => {
  const schemas = field(spec["components"], "schemas")
  const bodies = Object.entries(isObject(spec["paths"]) ? spec["paths"] : {}).flatMap(([path, item]) =>
    isStrict(path) ? Object.values(isObject(item) ? item : {}).map((operation) => field(operation, "requestBody")) : [])
  const closed = new Set<string>()
  const close = (names: ReadonlyArray<string>): void => {
    for (const name of names) {
      if (closed.has(name)) continue
      closed.add(name)
      close(referred(field(schemas, name)))
    }
  }
  close(referred(bodies))
  return {
    ...spec,
    paths: mapValues(spec["paths"], (item, path) =>
      mapValues(item, (operation) =>
        mapValues(operation, (part, name) => (name === "requestBody" && isStrict(path) ? part : open(part))))),
    components: {
      ...(isObject(spec["components"]) ? spec["components"] : {}),
      schemas: mapValues(schemas, (schema, name) => (closed.has(name) || options.test(name) ? schema : open(schema)))
    }
  }
}
