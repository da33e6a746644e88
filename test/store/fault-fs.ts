import type { Fs, FsFile } from '../../src/store/fs.ts'
import { systemError } from './sim-fs.ts'

/** One call of a file system, as `write state.sealed.tmp`. */
export type Call = 'open' | 'rename' | 'remove' | 'list' | 'make' | 'mode' | 'real' | 'stat' | 'read' | 'write' | 'sync' | 'sync-directory' | 'close'

export interface Fault {
  /** Asked at every call, in order, with its number from 1; a code makes the call fail with it, `short` makes it do half. */
  readonly at: (call: Call, number: number) => string | undefined
  /** Whether a call that fails has its effect nevertheless, as after an interrupted rename over a network. */
  readonly isAfter?: boolean
}

/** A file system whose calls fail as told. */
export class FaultFs implements Fs {
  readonly #inner: Fs
  readonly #fault: Fault
  readonly calls: Call[] = []

  constructor(inner: Fs, fault: Fault) {
    this.#inner = inner
    this.#fault = fault
  }

  async open(path: string, mode: 'read' | 'create' | 'directory'): Promise<FsFile> {
    // A descriptor that is opened although open failed would be a leak nobody could close: this one always fails before.
    const failure = this.#next('open')
    if (failure !== undefined && failure !== 'short') throw systemError(failure)
    const file = await this.#inner.open(path, mode)
    return {
      stat: () => this.#run('stat', () => file.stat()),
      read: (into, position) => this.#some('read', into, (part) => file.read(part, position)),
      write: (bytes, position) => this.#some('write', bytes, (part) => file.write(part, position)),
      sync: () => this.#run(mode === 'directory' ? 'sync-directory' : 'sync', () => file.sync()),
      // A failed close closes, on Linux.
      close: async () => {
        const closing = this.#next('close')
        await file.close()
        if (closing !== undefined && closing !== 'short') throw systemError(closing)
      },
    }
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', () => this.#inner.rename(from, to))
  }

  remove(path: string): Promise<void> {
    return this.#run('remove', () => this.#inner.remove(path))
  }

  list(directory: string): Promise<string[]> {
    return this.#run('list', () => this.#inner.list(directory))
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run('make', () => this.#inner.makeDirectory(path))
  }

  setMode(path: string, mode: number): Promise<void> {
    return this.#run('mode', () => this.#inner.setMode(path, mode))
  }

  realPath(path: string): Promise<string> {
    return this.#run('real', () => this.#inner.realPath(path))
  }

  #next(call: Call): string | undefined {
    this.calls.push(call)
    return this.#fault.at(call, this.calls.length)
  }

  async #run<T>(call: Call, effect: () => Promise<T>): Promise<T> {
    const failure = this.#next(call)
    if (failure === undefined || failure === 'short') return effect()
    if (this.#fault.isAfter === true) await effect()
    throw systemError(failure)
  }

  /** A read or write; a short one does half, rounded up, which is what the system call may do at any time. */
  async #some(call: 'read' | 'write', bytes: Uint8Array, effect: (part: Uint8Array) => Promise<number>): Promise<number> {
    const failure = this.#next(call)
    if (failure === 'short') return effect(bytes.subarray(0, Math.ceil(bytes.length / 2)))
    if (failure === undefined) return effect(bytes)
    if (this.#fault.isAfter === true) await effect(bytes.subarray(0, Math.ceil(bytes.length / 2)))
    throw systemError(failure)
  }
}
