/** Names that a mistyped one may have meant. */

const most = 5

/**
 * Levenshtein distance, or more than `limit` as soon as that is sure. Only the band of the table in which a distance up to
 * `limit` can lie is looked at: cells beside it count as too far.
 */
const distance = (a: string, b: string, limit: number): number => {
  const far = limit + 1
  if (Math.abs(a.length - b.length) > limit) return far
  let row = new Uint8Array(b.length + 1).fill(far)
  let next = new Uint8Array(b.length + 1)
  for (let j = 0; j <= Math.min(limit, b.length); j++) row[j] = j
  for (let i = 1; i <= a.length; i++) {
    next.fill(far)
    if (i <= limit) next[0] = i
    let least = next[0] ?? far
    for (let j = Math.max(1, i - limit); j <= Math.min(b.length, i + limit); j++) {
      const swap = (row[j - 1] ?? far) + (a.charCodeAt(i - 1) === b.charCodeAt(j - 1) ? 0 : 1)
      const cost = Math.min(swap, (row[j] ?? far) + 1, (next[j - 1] ?? far) + 1, far)
      next[j] = cost
      if (cost < least) least = cost
    }
    if (least > limit) return far
    ;[row, next] = [next, row]
  }
  return row[b.length] ?? far
}

/**
 * At most five of `names` that look like `wanted`, the nearest first: those within a third of its length in edits (at most
 * four), and those that contain it or are contained in it. Upper and lower case are the same. The caller bounds the length.
 */
export const nearNames = (wanted: string, names: Iterable<string>): ReadonlyArray<string> => {
  if (wanted.length === 0) return []
  const lower = wanted.toLowerCase()
  const limit = Math.max(1, Math.min(4, Math.floor(lower.length / 3)))
  const found: Array<{ readonly name: string; readonly far: number }> = []
  for (const name of names) {
    const other = name.toLowerCase()
    const far = distance(lower, other, limit)
    const holds = lower.length >= 3 && other.length >= 3 && (other.includes(lower) || lower.includes(other))
    if (far <= limit || holds) found.push({ name, far })
  }
  return found.toSorted((a, b) => a.far - b.far || (a.name < b.name ? -1 : 1)).slice(0, most).map(({ name }) => name)
}
