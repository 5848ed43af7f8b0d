/** What the person who started TokenHub sees first. */

export interface Start {
  readonly host: string
  readonly port: number
  readonly location: string
  /** Who needs a client key: everyone, everyone but programs on this machine, nobody. */
  readonly keys: "everyone" | "others" | "nobody"
  readonly mock: boolean
  readonly vaultLocked: boolean
  /** Variables of the environment that look like TokenHub's and are not. */
  readonly ignored: ReadonlyArray<string>
}

/** The address to call from this machine; a wildcard is not one. */
const reachable = (host: string): string => {
  if (host === "0.0.0.0" || host === "") return "127.0.0.1"
  if (host === "::") return "[::1]"
  return host.includes(":") ? `[${host}]` : host
}

/** Where it listens, where its data lie and the curl that gets a first answer; then what is out of the ordinary. */
export const lines = ({ host, ignored, keys, location, mock, port, vaultLocked }: Start): ReadonlyArray<string> => {
  const base = `http://${reachable(host)}:${port}`
  const key = keys === "everyone" ? " -H 'authorization: Bearer th_…'" : ""
  return [
    `TokenHub listens on http://${host.includes(":") ? `[${host}]` : host}:${port}`,
    `Its data lie in ${location}`,
    `First answer: curl -s ${base}/v1/chat${key} -H 'content-type: application/json' -d '{"messages":[{"role":"user","content":"Hello"}]}'`,
    ...(mock ? ["The provider 'mock' answers until you add one (POST /admin/providers); TOKENHUB_MOCK=false leaves it out of a first start"] : []),
    ...(keys === "others" ? ["Programs on this machine need no client key until the first is made (POST /admin/keys); all others do"] : []),
    ...(keys === "nobody" ? ["Warning: TOKENHUB_CLIENT_AUTH=off, so anyone who reaches this address may call /v1"] : []),
    ...(vaultLocked ? ["Warning: the vault is locked, since TOKENHUB_ADMIN_PASSWORD does not open it; POST /admin/vault/unlock does"] : []),
    ...ignored.map((name) => `Warning: ${name} is set, but TokenHub has no such variable (README.md has the list)`)
  ]
}
