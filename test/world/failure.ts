/** An invariant of the world does not hold. Thrown from wherever it is seen, through endpoint and pump: the world ends with it. */
export class WorldFailure extends Error {
  override readonly name = 'WorldFailure'
  /** What happened before, when the whole world is known. */
  story: readonly string[] = []
}

export function hold(condition: boolean, say: () => string): asserts condition {
  if (!condition) throw new WorldFailure(say())
}
