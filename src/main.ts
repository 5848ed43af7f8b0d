/** Runs the server. A failed start is one line on standard error and exit code 1; SIGTERM and Ctrl-C are exit code 0. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Cause, Console, Effect, Layer, Option, Runtime } from "effect"
import * as Server from "./Server.ts"

const interrupted = 130

/** An expected failure is one line; a defect is shown whole, since only its stack says what to mend. */
const report = (cause: Cause.Cause<Server.StartError>) =>
  Option.match(Cause.findErrorOption(cause), {
    onSome: (error) => Console.error(Server.startFailure(error)),
    onNone: () => (Cause.hasInterruptsOnly(cause) ? Effect.void : Console.error(`TokenHub ended by a defect: ${Cause.pretty(cause)}`))
  })

NodeRuntime.runMain(Effect.tapCause(Layer.launch(Server.layer), report), {
  disableErrorReporting: true,
  teardown: (exit, onExit) => Runtime.defaultTeardown(exit, (code) => onExit(code === interrupted ? 0 : code))
})
