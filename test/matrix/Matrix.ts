/** All tests of one client: the cells of the matrix, each of which passes or is refused as the table says, and what goes with them. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as MatrixBench from "./Bench.ts"
import type { Case } from "./Case.ts"
import type { Driver } from "./Client.ts"
import * as Failures from "./Failures.ts"
import { asked, failureOf, scenarios } from "./Scenarios.ts"
import type { Setting } from "./Scenarios.ts"
import type { ClientName, ModeName, UpstreamName } from "./Table.ts"
import { clients, limitOf, modeNames, scenarioNames, upstreamNames, upstreams as titles } from "./Table.ts"
import { upstreams } from "./Upstreams.ts"
import * as VirtualModels from "./VirtualModels.ts"

const modelOf: Readonly<Record<ModeName, (upstream: UpstreamName) => string>> = {
  direct: MatrixBench.modelName,
  auto: () => "tokenhub/auto",
  adversarial: () => "tokenhub/adversarial"
}

const cells = (client: ClientName, driver: Driver): ReadonlyArray<Case> =>
  upstreamNames.flatMap((upstream) =>
    scenarioNames.flatMap((scenario) =>
      modeNames.map((mode): Case => {
        const refused = limitOf({ client, upstream, scenario })
        const { ask, run, ways } = scenarios[scenario]
        return {
          group: titles[upstream].title,
          name: `${scenario}, ${mode}${refused === undefined ? "" : `: 400 ${refused.param}`}`,
          run: async ({ fake, hub, keys }) => {
            const connected = (headers: Record<string, string> = {}): Setting => ({
              fake,
              hub,
              driver,
              client: driver.connect({ url: hub.url, key: keys[upstream], headers, retries: 0 }),
              upstream: upstreams[upstream],
              mode,
              model: modelOf[mode](upstream)
            })
            const setting = connected()
            for (const way of ways) {
              fake.reset()
              if (refused === undefined) await run(setting, way)
              else {
                const { param, status, type } = await failureOf(driver, asked(setting, way, ask))
                assert.deepStrictEqual({ status, type, param }, { status: 400, type: driver.exceptionFor(400), param: refused.param })
                assert.strictEqual(fake.calls.length, 0)
                await asked(connected({ "x-tokenhub-drop-unsupported": "true" }), way, ask)
                assert.isAbove(fake.calls.length, 0)
              }
            }
          }
        }
      })
    )
  )

export const matrix = (client: ClientName, driver: Driver): void =>
  layer(MatrixBench.layer, { excludeTestServices: true, timeout: 60_000 })(clients[client].title, (it) => {
    const all = [...cells(client, driver), ...VirtualModels.cases(driver), ...Failures.cases(client, driver)]
    for (const [group, cases] of Map.groupBy(all, ({ group }) => group)) {
      describe(group, () => {
        for (const { name, run } of cases) {
          it.effect(name, () =>
            Effect.flatMap(MatrixBench.MatrixBench, (bench) =>
              Effect.promise(() => {
                bench.fake.reset()
                return run(bench)
              })))
        }
      })
    }
  })
