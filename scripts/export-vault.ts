/**
 * Writes the secrets of a running TokenHub to a file, encrypted under a passphrase of its own:
 * `npm run export-vault -- http://127.0.0.1:8080 secrets.thx`, with TOKENHUB_ADMIN_PASSWORD and TOKENHUB_VAULT_PASSPHRASE set.
 * The file is for its owner alone, and there whole or not at all, power cuts included; one of that name is replaced.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs"
import { dirname } from "node:path"
import { parseArgs } from "node:util"

const { positionals: [base, file] } = parseArgs({ allowPositionals: true })
const { TOKENHUB_ADMIN_PASSWORD: password, TOKENHUB_VAULT_PASSPHRASE: passphrase } = process.env

if (base === undefined || !URL.canParse(base) || file === undefined || password === undefined || passphrase === undefined) {
  console.error("usage: TOKENHUB_ADMIN_PASSWORD=… TOKENHUB_VAULT_PASSPHRASE=… npm run export-vault -- <url of a TokenHub> <file>")
  process.exit(2)
}

/** Opens a file or folder and syncs what `use` did with it. */
const synced = (path: string, flags: string, use: (descriptor: number) => void): void => {
  const descriptor = openSync(path, flags, 0o600)
  try {
    use(descriptor)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** A temporary file takes the name once it is on disk, and the name is on disk when this returns. */
const writeWhole = (path: string, bytes: Uint8Array): void => {
  const unfinished = `${path}.${process.pid}.tmp`
  try {
    synced(unfinished, "wx", (descriptor) => {
      for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at)
    })
    renameSync(unfinished, path)
  } finally {
    rmSync(unfinished, { force: true })
  }
  synced(dirname(path), "r", () => {})
}

try {
  const response = await fetch(`${base.replace(/\/+$/, "")}/admin/vault/export`, {
    method: "POST",
    // A header's characters are bytes; the password's are those of its UTF-8.
    headers: { authorization: `Bearer ${Buffer.from(password, "utf8").toString("latin1")}`, "content-type": "application/json" },
    body: JSON.stringify({ passphrase }),
    signal: AbortSignal.timeout(60_000)
  })
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({ error: undefined })) as { readonly error?: { readonly message?: string } }
    throw new Error(`${response.status} ${error?.message ?? "without a reason"}`)
  }
  const bytes = new Uint8Array(await response.arrayBuffer())
  writeWhole(file, bytes)
  console.log(`${bytes.length} bytes in ${file}`)
} catch (error) {
  console.error(`Nothing was exported: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(1)
}
