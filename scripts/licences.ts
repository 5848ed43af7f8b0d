/** Checks that every package of `node_modules` has a licence that may be used and passed on: `npm run licences` lists them all. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** SPDX names; all ask for no more than the notice that comes with the package. */
const allowed: ReadonlySet<string> = new Set(["0BSD", "Apache-2.0", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "ISC", "MIT", "MIT-0", "Python-2.0", "Unlicense", "WTFPL", "Zlib"])

/** Used while developing only, and passed on to nobody; MPL-2.0 binds changes of its own files. */
const allowedForDevelopment: ReadonlySet<string> = new Set(["MPL-2.0"])

interface Found {
  readonly name: string
  readonly version: string
  readonly licence: string
}

const nested = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory() || entry.name.startsWith(".")) return []
    const path = join(folder, entry.name)
    if (entry.name.startsWith("@")) return nested(path)
    const inner = join(path, "node_modules")
    return [path, ...(existsSync(inner) ? nested(inner) : [])]
  })

const licenceOf = (manifest: Record<string, unknown>): string => {
  const { licence, license, licenses } = manifest
  const given = license ?? licence ?? (Array.isArray(licenses) ? licenses.map((one) => (typeof one === "string" ? one : one.type)).join(" OR ") : undefined)
  if (typeof given === "string") return given
  return typeof given === "object" && given !== null && "type" in given ? String(given.type) : "none"
}

const packages = (): ReadonlyArray<Found> =>
  nested("node_modules").flatMap((path) => {
    const file = join(path, "package.json")
    if (!existsSync(file)) return []
    const manifest: Record<string, unknown> = JSON.parse(readFileSync(file, "utf8"))
    const { name, version } = manifest
    if (typeof name !== "string" || typeof version !== "string") return []
    return [{ name, version, licence: licenceOf(manifest) }]
  })

/** Whether an SPDX expression is met: any of several alternatives, all of several at once. */
export const isAllowed = (licence: string, names: ReadonlySet<string>): boolean => {
  const bare = licence.replaceAll(/[()]/g, "").trim()
  if (/ OR /i.test(bare)) return bare.split(/ OR /i).some((one) => isAllowed(one, names))
  if (/ AND /i.test(bare)) return bare.split(/ AND /i).every((one) => isAllowed(one, names))
  return names.has(bare)
}

if (import.meta.main) {
  const lock: { readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>> } = JSON.parse(readFileSync("package-lock.json", "utf8"))
  const development = new Set(
    Object.entries(lock.packages).filter(([, { dev, devOptional }]) => dev === true || devOptional === true).map(([path]) => path.split("node_modules/").at(-1))
  )
  const forDevelopment = new Set([...allowed, ...allowedForDevelopment])
  const all = packages()
  const wrong = all.filter(({ licence, name }) => !isAllowed(licence, development.has(name) ? forDevelopment : allowed))
  if (process.argv.includes("--list")) {
    for (const { licence, name, version } of all.toSorted((a, b) => a.name.localeCompare(b.name))) console.log(`${name}@${version} ${licence}`)
  }
  for (const { licence, name, version } of wrong) console.error(`${name}@${version} has the licence '${licence}', which is not on the list of scripts/licences.ts`)
  console.log(`${all.length} packages, ${wrong.length} with another licence than those allowed`)
  process.exitCode = wrong.length === 0 ? 0 : 1
}
