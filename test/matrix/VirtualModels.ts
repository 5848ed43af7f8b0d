/** Options of a mode in the model's name, as every library hands it on. */
import { assert } from "@effect/vitest"
import { modelName } from "./Bench.ts"
import type { Case } from "./Case.ts"
import type { Driver } from "./Client.ts"
import { upstreamNames } from "./Table.ts"
import { upstreams } from "./Upstreams.ts"

const revise = { text: "Too short.\nVERDICT: REVISE" }

export const cases = (driver: Driver): ReadonlyArray<Case> =>
  upstreamNames.flatMap((upstream): ReadonlyArray<Case> => {
    const [large, small] = upstreams[upstream].models
    const group = "virtual models"
    return [
      {
        group,
        name: `roles and rounds, ${upstream}`,
        run: async ({ fake, hub, keys }) => {
          const client = driver.connect({ url: hub.url, key: keys[upstream], retries: 0 })
          const model = `tokenhub/adversarial?planner=${upstream}-small&critic=${modelName(upstream)}&refinements=2`
          fake.script({ model: small }, { text: "One" }, { text: "Two" }, { text: "Three" })
          fake.script({ model: large }, revise, revise)
          const seen = await client.complete({ model, text: "Hello" })
          assert.deepStrictEqual([seen.text, seen.finish], ["Three", "stop"])
          assert.deepStrictEqual(fake.calls.map((call) => call.model), [small, large, small, large, small])
        }
      },
      {
        group,
        name: `steps as thoughts beside the answer, ${upstream}`,
        run: async ({ fake, hub, keys }) => {
          const client = driver.connect({ url: hub.url, key: keys[upstream], retries: 0 })
          fake.script({ model: large }, { text: "A first draft", chunkSize: 4 }, { text: "The last word", chunkSize: 4 })
          fake.script({ model: small }, revise)
          let pieces = 0
          const seen = await client.stream({ model: "tokenhub/adversarial?events=true", text: "Hello" }, () => pieces++)
          assert.deepStrictEqual([seen.text, seen.finish], ["The last word", "stop"])
          assert.isAbove(pieces, 1)
          assert.include(seen.reasoning, "A first draft")
          assert.include(seen.reasoning, "Too short.")
          assert.notInclude(seen.reasoning, "The last word")
        }
      }
    ]
  })
