/** Ends what was started, in reverse order and to the last, whatever fails on the way. (`AsyncDisposableStack` comes with Node 24.) */
export class Cleanup implements AsyncDisposable {
  readonly #actions: (() => Promise<void> | void)[] = []

  use<T extends AsyncDisposable>(resource: T): T {
    this.#actions.push(() => Promise.resolve(resource[Symbol.asyncDispose]()))
    return resource
  }

  defer(action: () => Promise<void> | void): void {
    this.#actions.push(action)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (;;) {
      const action = this.#actions.pop()
      if (action === undefined) break
      try {
        await action()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'what was started could not all be ended')
  }
}
