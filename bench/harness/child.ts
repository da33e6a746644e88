import { fork, type ChildProcess } from 'node:child_process'
import { watchProcess } from './running.ts'

/** What a child process does when it is asked: names of questions and the functions behind them. */
type Calls = Record<string, (argument: never) => unknown>
type Question<C extends Calls> = Extract<keyof C, string>
type Answer<C extends Calls, Q extends Question<C>> = Awaited<ReturnType<C[Q]>>

interface Asked {
  readonly number: number
  readonly question: string
  readonly argument: unknown
}

type Reply = { readonly number: number; readonly result: unknown } | { readonly number: number; readonly error: string }

interface Waiting {
  readonly resolve: (result: never) => void
  readonly reject: (error: Error) => void
}

export interface ChildOptions {
  readonly execArgv?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** What to start it with: `['ip', 'netns', 'exec', 'x']`. */
  readonly prefix?: readonly string[]
}

/** A process that plays one part of a case and is told by questions what to do. It ends with this one. */
export class Child<C extends Calls> implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #number = 0
  #ended: string | undefined

  /** @param module the file to run, which calls {@link serve} */
  constructor(module: URL, options: ChildOptions = {}) {
    const [first, ...rest] = [...(options.prefix ?? []), process.execPath, ...(options.execArgv ?? [])]
    // With 'advanced', typed arrays arrive as such.
    this.#process = fork(module, [], { execPath: first!, execArgv: rest, env: { ...process.env, ...options.env }, serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    watchProcess(this.#process)
    this.#process.on('message', (reply: Reply) => this.#answered(reply))
    this.#process.on('error', (error) => this.#end(error.message))
    this.#process.on('exit', (code, signal) => this.#end(`it ended (${signal ?? `exit status ${code ?? 'unknown'}`})`))
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  ask<Q extends Question<C>>(question: Q, argument?: Parameters<C[Q]>[0]): Promise<Answer<C, Q>> {
    if (this.#ended !== undefined) return Promise.reject(new Error(`${question}: ${this.#ended}`))
    const number = ++this.#number
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      this.#process.send({ number, question, argument } satisfies Asked)
    })
  }

  /** Also for a process that hangs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended !== undefined) return
    await new Promise<void>((resolve) => {
      this.#process.once('exit', () => resolve())
      this.#process.kill('SIGKILL')
    })
  }

  #answered(reply: Reply): void {
    const waiting = this.#waiting.get(reply.number)
    this.#waiting.delete(reply.number)
    if ('error' in reply) waiting?.reject(new Error(reply.error))
    else waiting?.resolve(reply.result as never)
  }

  #end(why: string): void {
    this.#ended ??= why
    for (const { reject } of this.#waiting.values()) reject(new Error(why))
    this.#waiting.clear()
  }
}

/** In the child: answers questions until the parent is gone. */
export function serve(calls: Calls): void {
  const reply = (message: Reply): void => {
    process.send?.(message)
  }
  process.on('message', ({ number, question, argument }: Asked) => {
    const call = calls[question]
    // A call may answer at once or later, and may throw either way.
    Promise.resolve()
      .then(() => call?.(argument as never))
      .then((result) => reply({ number, result }), (error: unknown) => reply({ number, error: error instanceof Error ? error.stack ?? error.message : String(error) }))
      .catch(() => undefined)
  })
  process.on('disconnect', () => process.exit())
}
