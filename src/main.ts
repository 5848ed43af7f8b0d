/** Runs the server. A failed start is one line on standard error and exit code 1; SIGTERM and Ctrl-C are exit code 0. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Cause, Console, Effect, Layer, Runtime } from "effect"
import * as Server from "./Server.ts"

const interrupted = 130

const program = Layer.launch(Server.layer).pipe(
  Effect.tapError((error) => Console.error(Server.startFailure(error))),
  Effect.tapDefect((defect) => Console.error(Cause.pretty(Cause.die(defect))))
)

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  teardown: (exit, onExit) => Runtime.defaultTeardown(exit, (code) => onExit(code === interrupted ? 0 : code))
})
