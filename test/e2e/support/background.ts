import { postern, run } from './program.ts'
import { readResult } from './schemas.ts'

/** What `postern up --json` prints. */
export interface Up {
  readonly peerId: string
  readonly udpPort: number
  readonly socket: string
  readonly pid: number
  readonly log: string
}

/** A daemon that the command line started in the background: nobody's child, so its own pid is what ends it if `down` did not. */
export class BackgroundDaemon implements AsyncDisposable {
  readonly dir: string
  readonly up: Up

  constructor(dir: string, up: Up) {
    this.dir = dir
    this.up = up
  }

  static async start(dir: string, ...args: readonly string[]): Promise<BackgroundDaemon> {
    return new BackgroundDaemon(dir, readResult('up', await postern(dir, '--json', 'up', ...args)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { status } = await run('postern', ['--dir', this.dir, 'down'])
    if (status !== 0 && isAlive(this.up.pid)) process.kill(this.up.pid, 'SIGKILL')
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
