/** Line charts as SVG, both axes logarithmic: where cost grows in step with size the line has the slope of the grid's diagonal. */

interface Series {
  readonly name: string
  /** Both positive. */
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

const width = 720
const height = 420
const margin = { left: 70, right: 20, top: 48, bottom: 56 }
const colours = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2"]

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** Maps values to pixels by their logarithms; from the power of ten below the least to the one above the most. */
const scaleOf = (values: ReadonlyArray<number>, from: number, to: number) => {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
  return { ticks, at: (value: number) => from + ((Math.log10(value) - low) / (high - low)) * (to - from) }
}

const shown = (value: number): string => (value >= 1000 ? value.toLocaleString("en-US") : String(Number(value.toPrecision(3))))

/** The chart as an SVG document. Points that are no positive numbers are left out. */
export const svg = (title: string, x: string, y: string, all: ReadonlyArray<Series>): string => {
  const series = all.map(({ name, points }) => ({ name, points: points.filter(([a, b]) => a > 0 && b > 0) })).filter(({ points }) => points.length > 0)
  const points = series.flatMap((one) => one.points)
  if (points.length === 0) return ""
  const across = scaleOf(points.map(([a]) => a), margin.left, width - margin.right)
  const up = scaleOf(points.map(([, b]) => b), height - margin.bottom, margin.top)
  const text = (px: number, py: number, words: string, more = "") => `<text x="${px.toFixed(1)}" y="${py.toFixed(1)}" ${more}>${escape(words)}</text>`
  const line = (x1: number, y1: number, x2: number, y2: number) =>
    `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="#ddd"/>`
  const middle = `text-anchor="middle"`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text(width / 2, 20, title, `${middle} font-size="15"`),
    ...across.ticks.flatMap((tick) => [
      line(across.at(tick), margin.top, across.at(tick), height - margin.bottom),
      text(across.at(tick), height - margin.bottom + 18, shown(tick), middle)
    ]),
    ...up.ticks.flatMap((tick) => [
      line(margin.left, up.at(tick), width - margin.right, up.at(tick)),
      text(margin.left - 8, up.at(tick) + 4, shown(tick), `text-anchor="end"`)
    ]),
    text(width / 2, height - 14, x, middle),
    text(16, height / 2, y, `${middle} transform="rotate(-90 16 ${height / 2})"`),
    ...series.flatMap(({ name, points }, i) => {
      const colour = colours[i % colours.length] ?? ""
      const places = points.map(([a, b]) => `${across.at(a).toFixed(1)},${up.at(b).toFixed(1)}`)
      return [
        `<polyline points="${places.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        ...points.map(([a, b]) =>
          `<circle cx="${across.at(a).toFixed(1)}" cy="${up.at(b).toFixed(1)}" r="3.5" fill="${colour}"><title>${escape(`${name}: ${shown(a)} → ${shown(b)}`)}</title></circle>`),
        `<rect x="${margin.left + 10}" y="${margin.top + 6 + i * 18}" width="12" height="12" fill="${colour}"/>`,
        text(margin.left + 28, margin.top + 16 + i * 18, name)
      ]
    }),
    "</svg>\n"
  ].join("\n")
}
