/** What `make` gives for each object, as long as anybody else holds the object. */
export const remembered = <A extends object, B>(make: (of: A) => B): ((of: A) => B) => {
  const known = new WeakMap<A, B>()
  return (of) => {
    const found = known.get(of)
    if (found !== undefined) return found
    const made = make(of)
    known.set(of, made)
    return made
  }
}
