/**
 * Names the field of the canonical form that a parameter in an error of OpenAI's stands for, by the fields that are called otherwise
 * there. A tool keeps its number; places in other lists are not the client's.
 */
export const fieldNames = (otherwise: { readonly [field: string]: string }) => (param: string): string => {
  const [head = "", second = ""] = param.split(/[.[\]]+/)
  if (head === "tools") return /^\d+$/.test(second) ? `tools[${second}]` : "tools"
  return (Object.hasOwn(otherwise, head) ? otherwise[head] : undefined) ?? head
}
