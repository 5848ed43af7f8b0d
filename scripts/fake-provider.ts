/**
 * Starts the fake provider by itself: `npm run fake-provider -- --port 9100`. Prints each vendor's base URL, one line
 * each, and ends on SIGINT or SIGTERM. `--faults` lists what a model's name can ask for; `--origins` also opens the
 * addresses whose connections fail.
 */
import { parseArgs } from "node:util"
import { faults } from "../test/support/fake-provider/Faults.ts"
import { origins } from "../test/support/fake-provider/Origins.ts"
import { startFakeProvider, vendors } from "../test/support/fake-provider/Server.ts"

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    faults: { type: "boolean", default: false },
    origins: { type: "boolean", default: false }
  }
})

const names = <K extends string>(table: Readonly<Record<K, unknown>>): ReadonlyArray<K> =>
  Object.keys(table).filter((name): name is K => name in table)

if (values.faults) {
  console.log("fault-STATUS  any status: retry_after, location, body=html|empty|text|garbage")
  for (const [name, fault] of Object.entries(faults)) console.log(`fault-${name}  ${fault.about}`)
} else {
  const fake = await startFakeProvider({ port: Number(values.port), history: 1000 })
  for (const vendor of names(vendors)) console.log(`${vendor} ${fake.url(vendor)}`)
  if (values.origins) for (const name of names(origins)) console.log(`${name} ${await fake.origin(name)}`)
  const stop = () => void fake.close()
  process.on("SIGINT", stop).on("SIGTERM", stop)
}
