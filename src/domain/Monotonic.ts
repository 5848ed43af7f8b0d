/**
 * Milliseconds of a clock that is never set, in whole ones: of what a stream touches for every piece, a small integer (they are,
 * for the first 24 days of a process) lies in its object's own field, and any other number in an object of its own.
 */
export const nowMs = (): number => Math.trunc(performance.now())
