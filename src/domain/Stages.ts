/**
 * What is due in a turn of the event loop, stage by stage: all answers that came in go on, then all writes leave, and so on. Taken as
 * they come, one after the other from its beginning to its end, a few requests at a time cost a third more: every step finds the code
 * of the step before in the processor's caches.
 */

/** In their order, with the tasks that one turn takes at most: who has an answer is done before others begin. */
const stages = {
  /** Providers' answers, whole or in pieces, are handed to who waits for them. */
  answers: Infinity,
  /** What clients get leaves. */
  writes: Infinity,
  /**
   * Requests begin. Without a bound a crowd that is refused and asks again at once would leave no time for those who are served, and
   * all who wait would hold what a request needs once it has begun: many times what it needs before.
   */
  requests: 16,
  /** What requests wait for is committed. */
  commits: Infinity,
  /** Log lines are written. */
  lines: Infinity
}

export type Stage = keyof typeof stages

type Task = () => void

const inOrder = Object.entries(stages) as ReadonlyArray<[Stage, number]>

const waiting: Record<Stage, Array<Task>> = { answers: [], writes: [], requests: [], commits: [], lines: [] }
let due = false

/** What a task throws must not take the others with it: it ends the process like anything else that nobody catches. */
const run = (task: Task): void => {
  try {
    task()
  } catch (error) {
    setImmediate(() => {
      throw error
    })
  }
}

const turnIsDue = (): void => {
  if (due) return
  due = true
  setImmediate(turn)
}

const turn = (): void => {
  // `due` stands meanwhile: what comes for a later stage is done in this turn, and needs no turn of its own.
  for (const [stage, most] of inOrder) {
    const tasks = waiting[stage]
    if (tasks.length === 0) continue
    const now = tasks.length > most ? tasks.splice(0, most) : tasks
    waiting[stage] = now === tasks ? [] : tasks
    now.forEach(run)
  }
  due = false
  if (inOrder.some(([stage]) => waiting[stage].length > 0)) turnIsDue()
}

/** Runs `task` in that stage, after those that wait for it: of this turn, or of a later one if the stage has begun or is full. */
export const inStage = (stage: Stage, task: Task): void => {
  turnIsDue()
  waiting[stage].push(task)
}

/** How many tasks wait for that stage beside those that it runs now. */
export const waitingFor = (stage: Stage): number => waiting[stage].length
