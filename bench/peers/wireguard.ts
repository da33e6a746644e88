import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Lab, whyNoNamespaces, type Namespace } from '../../test/lab/namespaces.ts'
import { sleep, Unmeasurable, type Sample, type Subject, type Tools } from '../harness/case.ts'
import { CpuWatch } from '../harness/processes.ts'
import { watchProcess } from '../harness/running.ts'

const PORT = 51_820
const MTU = 1420
const WARM_UP_S = 1
const OPEN_MS = 5000

/** TCP through two userspace WireGuards in network namespaces. Not loopback: a pair of virtual cables, as its tunnel needs two machines. */
export const wireguard: Subject = { name: 'wireguard-go + iperf3', measure }

/** One end: a namespace, a key pair and the program. */
class Tunnel {
  readonly device: string
  readonly machine: Namespace
  readonly publicKey: string
  readonly #privateKey: string
  readonly #process: ChildProcess

  constructor(machine: Namespace, device: string) {
    this.machine = machine
    this.device = device
    const { publicKey, privateKey } = generateKeyPairSync('x25519')
    this.publicKey = rawHex(publicKey.export({ format: 'jwk' }).x)
    this.#privateKey = rawHex(privateKey.export({ format: 'jwk' }).d)
    this.#process = start([...machine.prefix, 'wireguard-go', '-f', device], { WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: '1' })
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** Over its own socket, in the protocol of `wg`: so that program is not needed. */
  async configure(own: string, other: Tunnel, address: string): Promise<void> {
    const path = `/var/run/wireguard/${this.device}.sock`
    const settings = [
      'set=1', `private_key=${this.#privateKey}`, `listen_port=${PORT}`, `public_key=${other.publicKey}`, `endpoint=${other.machine.address}:${PORT}`, `allowed_ip=${address}/32`, '', '',
    ].join('\n')
    for (const until = performance.now() + OPEN_MS; ;) {
      try {
        if (!(await said(path, settings)).includes('errno=0')) throw new Error('wireguard-go does not take its settings.')
        break
      } catch (error) {
        if (performance.now() > until) throw error
        await sleep(50)
      }
    }
    this.machine.run('ip', 'addr', 'add', `${own}/24`, 'dev', this.device)
    this.machine.run('ip', 'link', 'set', this.device, 'mtu', String(MTU), 'up')
  }

  async stop(): Promise<void> {
    await stop(this.#process)
  }
}

async function measure({ settings, progress }: Tools): Promise<Sample> {
  const why = whyNoNamespaces()
  if (why !== undefined) throw new Unmeasurable(why)
  const missing = ['wireguard-go', 'iperf3'].filter((program) => spawnSync(program, ['--version']).error !== undefined)
  if (missing.length > 0) throw new Unmeasurable(`${missing.join(' and ')} not installed`)
  progress('starting')
  using lab = new Lab(2)
  const [a, b] = lab.machines
  const tag = `pb${process.pid % 100_000}`
  const ends = [new Tunnel(a!, `${tag}a`), new Tunnel(b!, `${tag}b`)] as const
  let server: ChildProcess | undefined
  try {
    await ends[0].configure('10.98.0.1', ends[1], '10.98.0.2')
    await ends[1].configure('10.98.0.2', ends[0], '10.98.0.1')
    server = start([...b!.prefix, 'iperf3', '-s', '-1'])
    await sleep(300)
    progress('measuring')
    const watch = new CpuWatch({ 'wireguard-go A': ends[0].pid, 'wireguard-go B': ends[1].pid })
    const seconds = Math.max(1, Math.round(settings.seconds / 2))
    const bytesPerSecond = await iperf(a!, seconds)
    const { processes, cores, others } = watch.read()
    return {
      figures: { megabytesPerSecond: bytesPerSecond / 1e6, cores, othersCores: others }, processes,
      notes: [`TCP of iperf3 through tunnels of MTU ${MTU} between two network namespaces on one machine; the first second is left out; cores are those of wireguard-go`],
    }
  } finally {
    if (server !== undefined) await stop(server)
    await Promise.all(ends.map((end) => end.stop()))
  }
}

async function iperf(machine: Namespace, seconds: number): Promise<number> {
  const client = spawn('ip', ['netns', 'exec', machine.name, 'iperf3', '-c', '10.98.0.2', '-t', String(seconds), '-O', String(WARM_UP_S), '-J'], { stdio: ['ignore', 'pipe', 'ignore'], timeout: (seconds + 15) * 1000 })
  watchProcess(client)
  let text = ''
  client.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  await once(client, 'close')
  const { end, error } = JSON.parse(text) as { readonly end?: { readonly sum_received?: { readonly bits_per_second: number } }; readonly error?: string }
  if (end?.sum_received === undefined) throw new Error(`iperf3: ${error ?? 'no result'}`)
  return end.sum_received.bits_per_second / 8
}

function start(command: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  const child = spawn(command[0]!, command.slice(1), { stdio: 'ignore', env: { ...process.env, ...env } })
  watchProcess(child)
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

/** One question and its whole answer over a Unix socket. */
async function said(path: string, question: string): Promise<string> {
  const socket = connect(path)
  let answer = ''
  socket.setEncoding('utf8').on('data', (piece: string) => {
    answer += piece
    if (answer.endsWith('\n\n')) socket.end()
  })
  socket.write(question)
  await once(socket, 'close')
  return answer
}

function rawHex(base64url: string | undefined): string {
  return Buffer.from(base64url ?? '', 'base64url').toString('hex')
}
