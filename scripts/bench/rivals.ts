/** Other gateways, fetched on demand into a cache folder. What can't be had on this machine is absent, and says why. */
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { freePort, start, stop, until } from "./processes.ts"
import type { Ground, Running, Subject } from "./subjects.ts"
import { Absent, json, model, stopping, tryOnce } from "./subjects.ts"

const fetchingMs = 8 * 60_000

/** Runs an installer to its end; fails with its last words. */
const install = (command: string, args: ReadonlyArray<string>, cwd: string, env: Readonly<Record<string, string>> = {}): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: fetchingMs,
      killSignal: "SIGKILL"
    })
    let said = ""
    const hear = (chunk: Buffer) => said = (said + chunk.toString()).slice(-2000)
    child.stdout.on("data", hear)
    child.stderr.on("data", hear)
    child.on("error", (error) => reject(new Absent("code" in error && error.code === "ENOENT" ? `${command} is not installed` : String(error))))
    child.on("close", (code, signal) => {
      const last = said.trim().split("\n").slice(-2).join(" ").slice(0, 300)
      if (code === 0) resolve()
      else reject(new Absent(`${command} ${args[0]} ${signal === null ? "failed" : `took more than ${fetchingMs / 60_000} minutes`}: ${last}`))
    })
  })

/** The program's path; `fetch` brings it where it is not there yet. */
const fetched = async (path: string, folder: string, fetch: () => Promise<void>): Promise<string> => {
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true })
    console.log(`  fetching ${folder} ...`)
    await fetch()
  }
  if (!existsSync(path)) throw new Absent(`nothing was installed at ${path}`)
  return path
}

/** Starts a rival and waits for its first good answer. */
const launch = async (
  ground: Ground,
  name: string,
  command: readonly [program: string, ...args: ReadonlyArray<string>],
  options: {
    readonly port: number
    readonly path: string
    readonly headers?: Readonly<Record<string, string>>
    readonly env?: Readonly<Record<string, string>>
    readonly note: string
  }
): Promise<Running> => {
  const [program, ...args] = command
  const log = join(ground.folder, `${name}.log`)
  const began = performance.now()
  const child = start(program, args, { env: options.env ?? {}, log, cwd: ground.folder })
  const taking = { url: `http://127.0.0.1:${options.port}`, path: options.path, headers: [{ ...json, ...options.headers }] }
  let last = ""
  const ready = await until(child, 90_000, async () => {
    const { status, text } = await tryOnce(taking)
    last = `${status} ${text}`
    return status === 200 ? true : undefined
  })
  if (ready === undefined) {
    await stop(child)
    throw new Absent(`it gave no good answer: ${last || readFileSync(log, "utf8").slice(-300)}`)
  }
  return { ...taking, readyMs: performance.now() - began, note: options.note, ...stopping(child) }
}

const portkey: Subject = {
  name: "portkey",
  title: "Portkey gateway 1.15.2",
  start: async (ground) => {
    const folder = join(ground.cache, "portkey-1.15.2")
    const program = await fetched(join(folder, "node_modules/@portkey-ai/gateway/build/start-server.js"), folder, () => {
      // With its own choice of @hono/node-server streams are answered 500.
      writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, overrides: { "@hono/node-server": "1.14.0" } }))
      return install("npm", ["install", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "@portkey-ai/gateway@1.15.2"], folder)
    })
    const port = await freePort()
    return launch(ground, "portkey", [process.execPath, program, `--port=${port}`, "--headless"], {
      port,
      path: "/v1/chat/completions",
      headers: {
        authorization: "Bearer sk-bench",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": `${ground.upstream}/v1`
      },
      env: { NODE_ENV: "production", TRUSTED_CUSTOM_HOSTS: "127.0.0.1,localhost" },
      note: "neither keys, limits, ledger nor metrics"
    })
  }
}

const litellm: Subject = {
  name: "litellm",
  title: "LiteLLM proxy",
  start: async (ground) => {
    const folder = join(ground.cache, "litellm")
    const program = await fetched(join(folder, "bin/litellm"), ground.cache, async () => {
      await install("python3", ["-m", "venv", folder], ground.cache)
      await install(join(folder, "bin/pip"), ["install", "--quiet", "litellm[proxy]"], ground.cache)
    })
    const config = join(ground.folder, "litellm.yaml")
    const entry = { model_name: model, litellm_params: { model: `openai/${model}`, api_base: `${ground.upstream}/v1`, api_key: "sk-bench" } }
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ model_list: [entry], general_settings: { master_key: "sk-master" }, litellm_settings: { telemetry: false } }))
    const port = await freePort()
    return launch(ground, "litellm", [program, "--config", config, "--host", "127.0.0.1", "--port", String(port), "--num_workers", "1"], {
      port,
      path: "/v1/chat/completions",
      headers: { authorization: "Bearer sk-master" },
      // Its table of prices would come from the network.
      env: { LITELLM_LOCAL_MODEL_COST_MAP: "True", LITELLM_LOG: "ERROR", LITELLM_MODE: "PRODUCTION" },
      note: "one worker, a master key, no database"
    })
  }
}

const bifrost: Subject = {
  name: "bifrost",
  title: "Bifrost",
  start: async (ground) => {
    const folder = join(ground.cache, "bifrost")
    const program = await fetched(join(folder, "bifrost-http"), folder, () =>
      install("go", ["install", "github.com/maximhq/bifrost/transports/bifrost-http@latest"], folder, { GOBIN: folder }))
    const data = join(ground.folder, "bifrost")
    mkdirSync(data, { recursive: true })
    writeFileSync(
      join(data, "config.json"),
      JSON.stringify({
        client: { enable_logging: false },
        providers: { openai: { keys: [{ value: "sk-bench", models: [], weight: 1 }], network_config: { base_url: ground.upstream } } }
      })
    )
    const port = await freePort()
    return launch(ground, "bifrost", [program, "-app-dir", data, "-host", "127.0.0.1", "-port", String(port)], {
      port,
      path: "/openai/v1/chat/completions",
      note: "no keys, no log"
    })
  }
}

export const rivals: ReadonlyArray<Subject> = [portkey, litellm, bifrost]
