/** What a decoder found wrong, in words for the client, to whom the names of TokenHub's schemas mean nothing. Pure functions. */
import { SchemaAST, SchemaIssue } from "effect"

export interface SchemaFault {
  readonly path: ReadonlyArray<PropertyKey>
  readonly message: string
}

const standard = SchemaIssue.makeFormatterStandardSchemaV1()

const words: { readonly [T in SchemaAST.AST["_tag"]]?: string } = {
  Objects: "an object",
  Arrays: "a list",
  String: "a string",
  Number: "a number",
  Boolean: "true or false",
  Null: "null"
}

/** What a schema takes: as its annotation says it, or in the words above. */
const expected = (ast: SchemaAST.AST): string => {
  const stated = ast.annotations?.["expected"] ?? words[ast._tag]
  if (typeof stated === "string") return stated
  return SchemaAST.isUnion(ast)
    ? ast.types.map(expected).join(" or ")
    : SchemaIssue.defaultLeafHook(new SchemaIssue.InvalidType(ast)).replace(/^Expected /, "")
}

/** Every fault that an issue holds, in the order in which the decoder found them. */
export const faultsOf = (issue: SchemaIssue.Issue, path: ReadonlyArray<PropertyKey> = []): ReadonlyArray<SchemaFault> => {
  switch (issue._tag) {
    case "Pointer":
      return faultsOf(issue.issue, [...path, ...issue.path])
    case "Composite":
      return issue.issues.flatMap((inner) => faultsOf(inner, path))
    case "Encoding":
      return faultsOf(issue.issue, path)
    case "AnyOf":
      return issue.issues.length > 0
        ? issue.issues.flatMap((inner) => faultsOf(inner, path))
        : [{ path, message: `must be ${expected(issue.ast)}` }]
    case "InvalidType":
      return [{ path, message: `must be ${expected(issue.ast)}` }]
    case "MissingKey":
      return [{ path, message: "is missing" }]
    default:
      return standard(issue).issues.map((fault) => ({
        path: [...path, ...(fault.path ?? []).map((segment) => (typeof segment === "object" ? segment.key : segment))],
        message: fault.message.replace(/^Expected (?:a string representing )?/, "must be ")
      }))
  }
}
