/** Whether OpenAI's strict mode takes a JSON Schema ("Structured outputs", supported schemas): a pure look at its keywords. */

type Schema = { readonly [keyword: string]: unknown }

const isSchema = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value)

const plain: ReadonlySet<string> = new Set(["type", "description", "title", "enum", "const", "$ref", "required", "additionalProperties"])
const ofSchemas: ReadonlySet<string> = new Set(["properties", "$defs", "definitions"])

const isClosed = ({ additionalProperties, properties, required, type }: Schema): boolean => {
  if (type !== "object" && properties === undefined && additionalProperties === undefined) return true
  const names = isSchema(properties) ? Object.keys(properties) : []
  return additionalProperties === false && Array.isArray(required) && names.every((name) => required.includes(name))
}

const isTaken = (value: unknown): boolean =>
  isSchema(value) && isClosed(value) && Object.entries(value).every(([keyword, inner]) =>
    plain.has(keyword)
    || (ofSchemas.has(keyword) && isSchema(inner) && Object.values(inner).every(isTaken))
    || (keyword === "items" && isTaken(inner))
    || (keyword === "anyOf" && Array.isArray(inner) && inner.every(isTaken))
  )

/** All objects are closed, all their properties required, and nothing else is asked of a value than its kind. */
export const isStrict = (schema: unknown): boolean => isSchema(schema) && schema["type"] === "object" && isTaken(schema)
