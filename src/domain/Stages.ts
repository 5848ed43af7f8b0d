/**
 * What is due in a turn of the event loop, stage by stage: all answers that came in go on, then all writes leave, and so on. Taken as
 * they come, one after the other from its beginning to its end, a few requests at a time cost a third more: every step finds the code
 * of the step before in the processor's caches.
 */

/** In their order: who has an answer is done before others begin. */
const stages = [
  /** Providers' answers, whole or in pieces, are handed to who waits for them. */
  "answers",
  /** What clients get leaves. */
  "writes",
  /** Requests begin. */
  "requests",
  /** What requests wait for is committed. */
  "commits",
  /** Log lines are written. */
  "lines"
] as const

export type Stage = (typeof stages)[number]

type Task = () => void

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

const turn = (): void => {
  due = false
  for (const stage of stages) {
    const tasks = waiting[stage]
    if (tasks.length === 0) continue
    waiting[stage] = []
    tasks.forEach(run)
  }
}

/** Runs `task` in that stage: of this turn, or of the next one if the stage has begun. */
export const inStage = (stage: Stage, task: Task): void => {
  if (!due) {
    due = true
    setImmediate(turn)
  }
  waiting[stage].push(task)
}
