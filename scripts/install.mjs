// Brings node_modules in line with package-lock.json, and does nothing where it already is.
// usage: node scripts/install.mjs [--dev | --bundle]
// --dev installs the development dependencies too. --bundle also brings dist in line with the sources, and prints the file that
// is the server: the bundle, which starts in half the time, or the source where none could be made.
// Plain JavaScript, because it runs on whatever Node came with npm: the project's own Node 24 is among what it installs.
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { bundle, isFresh } from "./build.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const modules = join(root, "node_modules")

/** The packages of a lock file by their path, or undefined where there is no such file. */
const packagesOf = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).packages : undefined)

/** What npm says it installed; undefined where no installation was finished, or one without install scripts. */
const installedPackages = () =>
  existsSync(join(modules, ".bin", "node")) ? packagesOf(join(modules, ".package-lock.json")) : undefined

/** Whether every package that this machine needs is there, in the locked version. */
const complete = (dev) => {
  const installed = installedPackages()
  if (installed === undefined) return false
  return Object.entries(packagesOf(join(root, "package-lock.json"))).every(([path, locked]) =>
    path === "" ||
    locked.optional ||
    locked.devOptional ||
    (locked.dev && !dev) ||
    (installed[path]?.version === locked.version && installed[path].integrity === locked.integrity))
}

/** Packages that would run a program of their own while they are installed, and are not on package.json's list of those that may. */
const unlisted = () => {
  const { allowScripts = {} } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  return Object.entries(packagesOf(join(root, "package-lock.json"))).flatMap(([path, { hasInstallScript }]) => {
    const name = path.split("node_modules/").at(-1)
    return hasInstallScript === true && allowScripts[name] !== true ? [name] : []
  })
}

const lockFile = join(tmpdir(), `tokenhub-install-${createHash("sha256").update(root).digest("hex").slice(0, 16)}`)
const lockLifetime = 15 * 60_000

const processLives = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === "EPERM"
  }
}

/** Takes the lock that keeps two installations apart; false while another process holds it. */
const tryLock = () => {
  try {
    writeFileSync(lockFile, String(process.pid), { flag: "wx" })
    return true
  } catch (error) {
    if (error.code !== "EEXIST") throw error
  }
  try {
    const abandoned = Date.now() - statSync(lockFile).mtimeMs > lockLifetime
    const holder = Number(readFileSync(lockFile, "utf8"))
    if (abandoned || (holder > 0 && !processLives(holder))) rmSync(lockFile, { force: true })
  } catch (error) {
    if (error.code !== "ENOENT") throw error
  }
  return false
}

/** Runs npm with only its errors shown; gives its exit code. */
const npm = (args) =>
  new Promise((done, fail) => {
    const child = spawn("npm", [...args, "--loglevel=error", "--no-audit", "--no-fund", "--no-progress"], {
      cwd: root,
      stdio: ["ignore", "ignore", "inherit"]
    })
    const stop = (signal) => child.kill(signal)
    process.on("SIGINT", stop).on("SIGTERM", stop)
    child.on("error", fail)
    child.on("close", (code, signal) => done(signal === null ? code : 130))
  })

const install = async (dev) => {
  const strange = unlisted()
  if (strange.length > 0) {
    process.stderr.write(`TokenHub: not installed, since these packages have install scripts and are not in package.json's allowScripts: ${strange.join(", ")}\n`)
    return 1
  }
  const installed = installedPackages()
  const keepsDev = Object.values(installed ?? {}).some((entry) => entry.dev)
  process.stderr.write("TokenHub: installing packages, this takes a moment ...\n")
  const code = await npm([
    // `ci` empties node_modules first; a tree that another process may be using is only added to.
    ...(installed === undefined ? ["ci"] : ["install", "--no-save"]),
    dev || keepsDev ? "--include=dev" : "--omit=dev"
  ])
  if (code === 0 && !complete(dev)) {
    process.stderr.write(
      "TokenHub: npm finished, but packages are missing. If npm is set to ignore install scripts, run: " +
        "npm ci --ignore-scripts=false\n"
    )
    return 1
  }
  return code
}

const dev = process.argv.includes("--dev")
while (!complete(dev)) {
  if (!tryLock()) {
    await sleep(200)
    continue
  }
  try {
    process.exitCode = complete(dev) ? 0 : await install(dev)
  } finally {
    rmSync(lockFile, { force: true })
  }
  break
}

const bundled = async () => {
  try {
    if (!isFresh()) await bundle()
    return "dist/main.js"
  } catch (error) {
    process.stderr.write(`TokenHub: starting from the sources, since they could not be bundled: ${error.message}\n`)
    return "src/main.ts"
  }
}

if (process.argv.includes("--bundle") && !process.exitCode) console.log(await bundled())
