/** JSON Schemas as vendors take them that keep an answer to its schema: objects there say of other properties that there are none. */
import type { Json } from "./Json.ts"
import { isJson, objectOf } from "./Json.ts"

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const single: ReadonlyArray<string> = ["items", "additionalProperties", "not"]
const lists: ReadonlyArray<string> = ["anyOf", "oneOf", "allOf", "prefixItems"]
const named: ReadonlyArray<string> = ["properties", "$defs", "definitions"]

const isOfObjects = ({ properties, type }: Json): boolean =>
  type === "object" || (Array.isArray(type) && type.includes("object")) || (type === undefined && isJson(properties))

const mapped = (schema: Json, keywords: ReadonlyArray<string>, f: (value: unknown) => unknown): Json =>
  Object.fromEntries(keywords.flatMap((name) => (name in schema ? [[name, f(schema[name])] as const] : [])))

/**
 * The schema with every object closed that does not say whether it is: an answer that fits it fits the given one too. One that is
 * open by its own word stays so, for the vendor to refuse.
 */
export const closed = (schema: unknown): unknown => {
  if (!isJson(schema)) return schema
  return {
    ...schema,
    ...(isOfObjects(schema) && !("additionalProperties" in schema) ? { additionalProperties: false } : {}),
    ...mapped(schema, single, closed),
    ...mapped(schema, lists, (list) => (Array.isArray(list) ? list.map(closed) : list)),
    ...mapped(schema, named, (schemas) => Object.fromEntries(Object.entries(objectOf(schemas)).map(([name, inner]) => [name, closed(inner)])))
  }
}
