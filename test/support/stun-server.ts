import { fileURLToPath } from 'node:url'
import { Program } from '../e2e/support/program.ts'

/** The STUN server of the tests (stun-server.mjs) as a process. */
export class StunServer implements AsyncDisposable {
  readonly ports: readonly number[]
  readonly #program: Program

  private constructor(program: Program, ports: readonly number[]) {
    this.#program = program
    this.ports = ports
  }

  /** @param prefix what to start it with: `['ip', 'netns', 'exec', 'x']` */
  static async start(args: readonly string[], prefix: readonly string[] = []): Promise<StunServer> {
    const program = new Program([process.execPath, fileURLToPath(new URL('./stun-server.mjs', import.meta.url)), ...args], { prefix })
    const [, ports] = await program.says(/^serves ([\d ]+)$/m)
    return new StunServer(program, ports!.split(' ').map(Number))
  }

  get port(): number {
    return this.ports[0]!
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]()
  }
}
