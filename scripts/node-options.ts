import { readFileSync } from "node:fs"

const command: ReadonlyArray<string> = JSON.parse(/^CMD (.*)$/m.exec(readFileSync(new URL("../Dockerfile", import.meta.url), "utf8"))?.[1] ?? "[]")

/** Node's options in the image, which `npm start` has too (`scripts/run` says what they are for). */
export const nodeOptions = command.slice(1, -1)
