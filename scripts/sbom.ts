/**
 * What TokenHub is made of, as CycloneDX 1.6: every package of the lock file that is there at run time, with its hash and licence.
 * `npm run sbom > tokenhub.cdx.json`. Made here, because `npm sbom --omit dev` (npm 11.19) also leaves out what run time and
 * development share, `effect` among it.
 */
import { readFileSync } from "node:fs"

interface Locked {
  readonly name?: string
  readonly version?: string
  readonly integrity?: string
  readonly license?: string
  readonly dev?: boolean
  readonly devOptional?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

export interface Lock {
  readonly name: string
  readonly version: string
  readonly packages: Readonly<Record<string, Locked>>
}

const nameOf = (path: string): string => path.split("node_modules/").at(-1) ?? path

const purl = (name: string, version: string): string => `pkg:npm/${name.replace(/^@/, "%40")}@${version}`

/** `sha512-<base64>` as CycloneDX has it. */
const hashesOf = (integrity: string) =>
  integrity.split(/\s+/).map((one) => {
    const [algorithm = "", digest = ""] = one.split(/-(.*)/)
    return { alg: `SHA-${algorithm.replace("sha", "")}`, content: Buffer.from(digest, "base64").toString("hex") }
  })

const licenceOf = (licence: string) => (/[ ()]/.test(licence) ? { expression: licence } : { license: { id: licence } })

/** Where node looks for a package that another one asks for: in its own folder, then in those above. */
const placesOf = (from: string, wanted: string): ReadonlyArray<string> => {
  const names = from.split(/\/?node_modules\//).slice(1)
  return [...names.keys(), names.length].map((up) => [...names.slice(0, names.length - up), wanted].map((name) => `node_modules/${name}`).join("/"))
}

/** The bill of a lock file; the same for the same file. */
export const billOf = ({ name, packages, version }: Lock) => {
  const runtime = Object.entries(packages).filter(([path, { dev, devOptional }]) => path !== "" && dev !== true && devOptional !== true)
  const refOf = new Map(runtime.map(([path, locked]) => [path, purl(nameOf(path), locked.version ?? "")]))
  const root = purl(name, version)

  const resolve = (from: string, wanted: string): string | undefined =>
    placesOf(from, wanted).map((path) => refOf.get(path)).find((ref) => ref !== undefined)
  const needs = (path: string, { dependencies, optionalDependencies, peerDependencies }: Locked) =>
    [...new Set(Object.keys({ ...peerDependencies, ...optionalDependencies, ...dependencies }).flatMap((wanted) => resolve(path, wanted) ?? []))].toSorted()

  const components = runtime.map(([path, { integrity, license, version = "" }]) => {
    const full = nameOf(path)
    const [group, short] = full.startsWith("@") ? full.split("/") : [undefined, full]
    return {
      type: "library",
      "bom-ref": purl(full, version),
      ...(group === undefined ? {} : { group }),
      name: short,
      version,
      purl: purl(full, version),
      ...(integrity === undefined ? {} : { hashes: hashesOf(integrity) }),
      ...(license === undefined ? {} : { licenses: [licenceOf(license)] })
    }
  })
  const own = packages[""] ?? {}
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { component: { type: "application", "bom-ref": root, name, version, purl: root, licenses: [licenceOf(own.license ?? "MIT")] } },
    components,
    dependencies: [
      { ref: root, dependsOn: needs("", own) },
      ...runtime.map(([path, locked]) => ({ ref: refOf.get(path) ?? "", dependsOn: needs(path, locked) }))
    ]
  }
}

if (import.meta.main) console.log(JSON.stringify(billOf(JSON.parse(readFileSync("package-lock.json", "utf8"))), undefined, 2))
