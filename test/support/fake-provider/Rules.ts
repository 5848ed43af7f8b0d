/** How vendors' rules are told here: each rule is a function that gives the first fault, in the vendor's own words. */
import type { Json, Problem } from "./Wire.ts"
import { isJson, listOf, objectOf, textOf } from "./Wire.ts"

/** The first fault of a list of rules, which are tried in order. */
export const firstOf = (...rules: ReadonlyArray<() => Problem | undefined>): Problem | undefined => {
  for (const rule of rules) {
    const problem = rule()
    if (problem !== undefined) return problem
  }
  return undefined
}

/** The first fault among the items of a list. */
export const firstIn = <A>(items: ReadonlyArray<A>, rule: (item: A, at: number) => Problem | undefined): Problem | undefined => {
  for (const [at, item] of items.entries()) {
    const problem = rule(item, at)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Every schema that stands in a schema, itself first, with its place. */
function* schemasIn(schema: unknown, place: ReadonlyArray<string> = []): Iterable<readonly [Json, ReadonlyArray<string>]> {
  if (!isJson(schema)) return
  yield [schema, place]
  for (const name of ["properties", "$defs", "definitions"]) {
    for (const [key, inner] of Object.entries(objectOf(schema[name]))) yield* schemasIn(inner, [...place, name, key])
  }
  for (const name of ["anyOf", "oneOf", "allOf"]) {
    for (const [at, inner] of listOf(schema[name]).entries()) yield* schemasIn(inner, [...place, name, String(at)])
  }
  if (isJson(schema["items"])) yield* schemasIn(schema["items"], [...place, "items"])
}

const isObjectSchema = ({ properties, type }: Json): boolean =>
  type === "object" || (Array.isArray(type) && type.includes("object")) || (type === undefined && isJson(properties))

/** The place of the first object schema that lets other properties in. */
export const openObject = (schema: unknown): ReadonlyArray<string> | undefined => {
  for (const [inner, place] of schemasIn(schema)) if (isObjectSchema(inner) && inner["additionalProperties"] !== false) return place
  return undefined
}

/** The first property that its object does not require, with the object's place. */
export const optionalProperty = (schema: unknown): readonly [name: string, place: ReadonlyArray<string>] | undefined => {
  for (const [inner, place] of schemasIn(schema)) {
    const required = new Set(Array.isArray(inner["required"]) ? inner["required"].map(textOf) : [])
    const name = Object.keys(objectOf(inner["properties"])).find((key) => !required.has(key))
    if (name !== undefined) return [name, place]
  }
  return undefined
}
