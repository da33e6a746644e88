import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Unmeasurable, type Sample, type Subject, type Tools } from '../harness/case.ts'
import { watchProcess } from '../harness/running.ts'

/** From dist-bench/bench/limit. */
const source = fileURLToPath(new URL('../../../bench/limit/limit.c', import.meta.url))
const directory = fileURLToPath(new URL('.', import.meta.url))
/** What a datagram of the base size is on the wire: 1152 bytes of plaintext and 29 around them. */
const BASE_DATAGRAM = 1181
/** Bytes around a message in C: a counter of 8 and a tag of 16. */
const SEALING = 24
const HANG_MS = 20_000

export interface Limit {
  readonly program: string
  /** Why it has no AEAD. */
  readonly noAead: string | undefined
}

let built: Limit | { readonly why: string } | undefined

/** Compiles `limit.c`, once. With OpenSSL when its headers are there. */
export function buildLimit(): Limit | { readonly why: string } {
  built ??= build()
  return built
}

function build(): Limit | { readonly why: string } {
  if (process.platform !== 'linux') return { why: 'the limit in C is measured on Linux only' }
  const key = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12)
  const attempts = [['openssl', ['-DWITH_OPENSSL'], ['-lcrypto']], ['plain', [], []]] as const
  let said = ''
  for (const [name, flags, libraries] of attempts) {
    const program = `${directory}limit-${key}-${name}`
    if (!existsSync(program)) {
      mkdirSync(directory, { recursive: true })
      const fresh = `${program}.${process.pid}`
      const { status, error, stderr } = spawnSync('cc', ['-std=c11', '-O2', '-o', fresh, ...flags, source, ...libraries], { encoding: 'utf8' })
      if (error !== undefined) return { why: 'no C compiler (`cc`) is installed' }
      if (status !== 0) {
        said = stderr
        continue
      }
      renameSync(fresh, program)
    }
    return { program, noAead: name === 'openssl' ? undefined : 'the headers of OpenSSL are not installed (libssl-dev)' }
  }
  return { why: `cc could not compile bench/limit/limit.c: ${said.trim().split('\n')[0] ?? ''}` }
}

/** Runs it and resolves with the line that it prints. */
export function runLimit(program: string, ...args: readonly string[]): Promise<Readonly<Record<string, number>>> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: HANG_MS, killSignal: 'SIGKILL' })
    watchProcess(child)
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve(JSON.parse(out) as Record<string, number>)
      else reject(new Error(`limit ${args.join(' ')}: ${signal ?? `exit status ${code ?? 'unknown'}`} ${err.trim()}`))
    })
  })
}

export const limitAead = 'limit: C, GSO + GRO, ChaCha20-Poly1305'

/** The most that this machine moves in datagrams of the base size: no protocol, nothing held back, what arrived counts. */
export const limitBulk: readonly Subject[] = [
  { name: limitAead, measure: (tools) => hop(tools, 'gso', BASE_DATAGRAM, true) },
  { name: 'limit: C, GSO + GRO, no encryption', measure: (tools) => hop(tools, 'gso', BASE_DATAGRAM, false) },
  { name: 'limit: C, no GSO, ChaCha20-Poly1305', measure: (tools) => hop(tools, 'mmsg', BASE_DATAGRAM, true) },
]

/** One message in each datagram. */
export function limitMessages(size: number): readonly Subject[] {
  return [{ name: limitAead, measure: (tools) => hop(tools, 'gso', size + SEALING, true) }]
}

async function hop({ settings }: Tools, mode: 'gso' | 'mmsg', size: number, sealed: boolean): Promise<Sample> {
  const limit = buildLimit()
  if ('why' in limit) throw new Unmeasurable(limit.why)
  if (sealed && limit.noAead !== undefined) throw new Unmeasurable(limit.noAead)
  const { sent, received, bytes, seconds, senderCpu, receiverCpu } = await runLimit(limit.program, 'hop', mode, String(size), String(settings.seconds * 500), sealed ? 'aead' : 'plain') as {
    readonly [name in 'sent' | 'received' | 'bytes' | 'seconds' | 'senderCpu' | 'receiverCpu']: number
  }
  // What one datagram costs at either end; they are not the same number when some are lost.
  const [txNs, rxNs] = [(senderCpu * 1e9) / sent, (receiverCpu * 1e9) / received]
  const payload = sealed ? bytes - SEALING * received : bytes
  return {
    figures: {
      megabytesPerSecond: payload / seconds / 1e6, messagesPerSecond: received / seconds, packetsPerSecond: received / seconds, cpuNsPerPacket: txNs + rxNs, cpuNsPerMessage: txNs + rxNs,
      cores: (senderCpu + receiverCpu) / seconds,
    },
    processes: [{ name: 'sender', cores: senderCpu / seconds, nsPerUnit: txNs }, { name: 'receiver', cores: receiverCpu / seconds, nsPerUnit: rxNs }],
    counts: { sent, received },
  }
}
