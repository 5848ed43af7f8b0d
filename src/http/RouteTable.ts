/** Which methods a path takes, for answers to requests that no route matched. */

export interface KnownRoute {
  readonly pattern: string
  /** Sorted, with HEAD where GET is and OPTIONS always. */
  readonly methods: ReadonlyArray<string>
}

export interface RouteTable {
  readonly match: (path: string) => KnownRoute | undefined
}

interface Endpoint {
  readonly path: string
  readonly method: string
}

const segmentsOf = (path: string): ReadonlyArray<string> => path.split("/").filter((segment) => segment !== "")

const fits = (pattern: ReadonlyArray<string>, path: ReadonlyArray<string>): boolean => {
  for (let i = 0; i < pattern.length; i++) {
    const segment = pattern[i] ?? ""
    if (segment === "*") return path.length >= i
    if (path[i] === undefined || (!segment.startsWith(":") && segment !== path[i])) return false
  }
  return path.length === pattern.length
}

const withImplied = (methods: ReadonlySet<string>): ReadonlyArray<string> =>
  [...new Set([...methods, ...(methods.has("GET") ? ["HEAD"] : []), "OPTIONS"])].toSorted()

/** The table of an API's endpoints. Patterns are the router's: `:name` is one segment, `*` the rest. */
export const make = (endpoints: ReadonlyArray<Endpoint>): RouteTable => {
  const methods = new Map<string, Set<string>>()
  for (const { method, path } of endpoints) methods.set(path, (methods.get(path) ?? new Set()).add(method))
  const routes = [...methods].map(([pattern, taken]) => ({ pattern, segments: segmentsOf(pattern), methods: withImplied(taken) }))
  return {
    match: (path) => {
      const segments = segmentsOf(path)
      return routes.find((route) => fits(route.segments, segments))
    }
  }
}
