/**
 * Two calls for one answer: where the first has brought nothing for a while a second one leaves, and whichever first brings a
 * piece of the answer, or all of it, is the answer; the other is cancelled (Dean and Barroso 2013, "The Tail at Scale").
 */
import { Deferred, Effect, Exit } from "effect"
import type { ModelCard } from "../domain/Catalog.ts"
import type { Delta, Frame } from "../domain/Chat.ts"

export interface Slow {
  /** After so long without a token; 0: never. */
  readonly afterMs: number
  /** The caller wants this very model. */
  readonly named: boolean
  /** Milliseconds until the run's deadline. */
  readonly timeLeftMs: number
}

export interface Hedge {
  readonly afterMs: number
  readonly ask: "same_model" | "next_model"
}

/** Whether a call that is slow to begin gets a second one beside it, and of whom. */
export const decide = ({ afterMs, named, timeLeftMs }: Slow): Hedge | undefined =>
  afterMs === 0 || afterMs >= timeLeftMs ? undefined : { afterMs, ask: named ? "same_model" : "next_model" }

/** One of the calls, as seen from its inside. */
export interface Lane {
  /** The client hears of this call as it leaves, not only once it is the answer. */
  readonly leads: boolean
  /** To be run when the call has left: the time begins. */
  readonly left: Effect.Effect<void>
  /** Whether this call is the answer by now. */
  readonly won: () => boolean
  /** Makes it the answer, unless the other one is. */
  readonly win: () => boolean
}

/** A call that has no other beside it. */
export const alone: Lane = { leads: true, left: Effect.void, won: () => true, win: () => true }

const lost = Symbol("lost")

/**
 * The answer of the call that wins. A first one that fails before a second has left fails at once; after that each waits for the
 * other, and where both fail the first one's error stands. `mayLeave` is asked before the second is made. Who loses has ended,
 * and was settled, before this returns.
 */
export const race = <A, E, R>(options: {
  readonly afterMs: number
  readonly first: (lane: Lane) => Effect.Effect<A, E, R>
  readonly mayLeave: Effect.Effect<boolean>
  readonly second: (lane: Lane) => Effect.Effect<A, E, R>
}): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const left = Deferred.makeUnsafe<void>()
    const secondFailed = Deferred.makeUnsafe<void>()
    const claims = { first: Deferred.makeUnsafe<void>(), second: Deferred.makeUnsafe<void>() }
    let winner: keyof typeof claims | undefined
    let together = false

    const lane = (own: keyof typeof claims): Lane => ({
      leads: own === "first",
      left: own === "first" ? Effect.asVoid(Deferred.succeed(left, undefined)) : Effect.void,
      won: () => winner === own,
      win: () => {
        if (winner === undefined) {
          winner = own
          Deferred.doneUnsafe(claims[own], Exit.void)
        }
        return winner === own
      }
    })

    /** Ends the call as soon as the other one is the answer, and then says nothing. */
    const unlessLost = (call: Effect.Effect<A, E, R>, other: keyof typeof claims) =>
      Effect.raceFirst(call, Effect.as(Deferred.await(claims[other]), lost)).pipe(
        Effect.flatMap((answer) => (answer === lost ? Effect.never : Effect.succeed(answer)))
      )

    const first = options.first(lane("first")).pipe(
      Effect.catch((error) =>
        together && winner !== "first" ? Effect.andThen(Deferred.await(secondFailed), Effect.fail(error)) : Effect.fail(error))
    )
    const second = Deferred.await(left).pipe(
      Effect.andThen(Effect.sleep(options.afterMs)),
      Effect.andThen(options.mayLeave),
      Effect.flatMap((may) => {
        together = may
        return may ? options.second(lane("second")) : Effect.never
      }),
      Effect.catch((error) =>
        winner === "second" ? Effect.fail(error) : Effect.andThen(Deferred.succeed(secondFailed, undefined), Effect.never))
    )
    return Effect.raceFirst(unlessLost(first, "second"), unlessLost(second, "first"))
  })

/** Where what a call brings goes. */
export interface Sink {
  readonly onCall: (model: ModelCard, estimatedPromptTokens: number) => Effect.Effect<void>
  /** Whether a frame that holds no delta shows the client a piece of the answer all the same. */
  readonly hasContent: (frame: Frame) => boolean
  /** `content`: the client has seen a piece of the answer by now. */
  readonly onFrame: (frame: Frame, content: boolean) => Effect.Effect<void>
  /** A piece that comes in no frame. */
  readonly onDelta: (delta: Delta) => Effect.Effect<void>
}

/** What one call tells its client; before it is the answer no more than that it left. */
export interface Telling {
  readonly left: () => Effect.Effect<void>
  readonly frame: (frame: Frame) => Effect.Effect<void>
  readonly delta: (delta: Delta) => Effect.Effect<void>
  /** The whole answer is there; true where it is this call's. Done when called, where the client has heard of all that came. */
  readonly whole: () => Effect.Effect<boolean>
}

/** Nobody is told before the whole answer is there. */
const untold = (lane: Lane): Telling => ({
  left: () => Effect.void,
  frame: () => Effect.void,
  delta: () => Effect.void,
  whole: () => Effect.succeed(lane.win())
})

interface ToldCall {
  readonly model: ModelCard
  readonly promptTokens: number
  /** The client is about to see a piece of this call's answer. */
  readonly onShown: () => void
}

export const telling = (sink: Sink | undefined, lane: Lane, call: ToldCall): Telling => (sink === undefined ? untold(lane) : new Told(sink, lane, call))

class Told implements Telling {
  private readonly sink: Sink
  private readonly lane: Lane
  private readonly call: ToldCall
  private announced = false
  private shown = false
  private readonly held: Array<Frame> = []

  constructor(sink: Sink, lane: Lane, call: ToldCall) {
    this.sink = sink
    this.lane = lane
    this.call = call
  }

  left(): Effect.Effect<void> {
    return this.lane.leads ? this.announce() : Effect.void
  }

  frame(frame: Frame): Effect.Effect<void> {
    const content = this.shown || frame.deltas.length > 0 || this.sink.hasContent(frame)
    if (content ? !this.lane.win() : !this.lane.won()) {
      this.held.push(frame)
      return Effect.void
    }
    if (content) this.show()
    return this.settled ? this.sink.onFrame(frame, this.shown) : Effect.andThen(this.catchUp(), Effect.suspend(() => this.sink.onFrame(frame, this.shown)))
  }

  delta(delta: Delta): Effect.Effect<void> {
    if (!this.lane.win()) return Effect.void
    this.show()
    return this.settled ? this.sink.onDelta(delta) : Effect.andThen(this.catchUp(), Effect.suspend(() => this.sink.onDelta(delta)))
  }

  whole(): Effect.Effect<boolean> {
    const won = this.lane.win()
    return won && !this.settled ? Effect.as(this.catchUp(), true) : Effect.succeed(won)
  }

  /** Nothing stands before what comes next. */
  private get settled(): boolean {
    return this.announced && this.held.length === 0
  }

  private show(): void {
    if (this.shown) return
    this.shown = true
    this.call.onShown()
  }

  private announce(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.announced) return Effect.void
      this.announced = true
      return this.sink.onCall(this.call.model, this.call.promptTokens)
    })
  }

  private catchUp(): Effect.Effect<void> {
    const held = Effect.suspend(() => Effect.forEach(this.held.splice(0), (frame) => this.sink.onFrame(frame, false), { discard: true }))
    return Effect.andThen(this.announce(), held)
  }
}
