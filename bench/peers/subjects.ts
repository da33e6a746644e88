import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sleep, Unmeasurable, type Sample, type Tools } from '../harness/case.ts'
import { Child } from '../harness/child.ts'
import type { PeerEnd, Way } from './peer-end.ts'
import type { PipeKind } from './transport.ts'

/** From dist-bench/bench/peers: the modules of libraries lie where their packages do. */
const sources = fileURLToPath(new URL('../../../bench', import.meta.url))
/** Where packages are looked for; elsewhere for the test that has none. */
const installed = process.env['POSTERN_BENCH_PACKAGES'] ?? `${sources}/node_modules`
const STUCK_MS = 30_000

/** Somebody to compare with. */
export interface Peer {
  readonly name: string
  /** File below this directory; `.mjs` needs `packages`. */
  readonly module: string
  readonly options?: Readonly<Record<string, unknown>>
  /** Of bench/package.json. */
  readonly packages?: readonly string[]
  readonly kinds: readonly PipeKind[]
  /** Connections opened at once where many are; libraries that need long for one get fewer. */
  readonly connections?: number
  /** What has to be known of its figures. */
  readonly note?: string
}

/** Datagrams as they go over the internet: on the loopback the shipped one finds larger ones. */
export const postern: Peer = { name: 'Postern', module: 'postern.js', options: { plaintext: 1152 }, kinds: ['reliable', 'unreliable'] }
export const posternLarge: Peer = { ...postern, name: 'Postern, datagrams of 16 KiB', options: {}, note: 'as shipped: it found that this path takes datagrams of 16 KiB' }
/** One frame of 100 bytes fills its datagrams. */
export const posternEach: Peer = { ...postern, name: 'Postern, one message a datagram', options: { plaintext: 128 } }
export const secretStream: Peer = {
  name: 'secret-stream + udx', module: 'secret-stream.mjs', packages: ['@hyperswarm/secret-stream', 'udx-native'], kinds: ['reliable'],
}
export const dgram: Peer = { name: 'node:dgram', module: 'sockets.js', options: { kind: 'dgram' }, kinds: ['unreliable'], note: 'neither encrypted nor held back: what was received counts' }
export const tls: Peer = { name: 'node:tls 1.3', module: 'sockets.js', options: { kind: 'tls' }, kinds: ['reliable'], connections: 500, note: 'TLS_CHACHA20_POLY1305_SHA256 over the kernel\'s TCP' }

/** All that are measured beside Postern. Versions are those of bench/package-lock.json. */
export const peers: readonly Peer[] = [
  secretStream,
  { name: 'hyperdht', module: 'hyperdht.mjs', packages: ['hyperdht'], kinds: ['reliable'] },
  { name: 'libp2p TCP', module: 'libp2p.mjs', packages: ['libp2p', '@libp2p/tcp', '@chainsafe/libp2p-noise', '@chainsafe/libp2p-yamux', '@multiformats/multiaddr'], kinds: ['reliable'] },
  {
    name: 'iroh (Node)', module: 'iroh.mjs', packages: ['@number0/iroh'], kinds: ['reliable', 'unreliable'],
    note: 'its Node binding passes arrays of numbers; iroh itself, in Rust, is faster by far and is not measured',
  },
  { name: 'node-datachannel', module: 'node-datachannel.mjs', packages: ['node-datachannel'], kinds: ['reliable', 'unreliable'], connections: 50 },
  tls,
  { name: 'node:net TCP', module: 'sockets.js', options: { kind: 'tcp' }, kinds: ['reliable'], connections: 500, note: 'not encrypted' },
]

/** A machine of the lab. */
export interface Place {
  readonly prefix: readonly string[]
  readonly address: string
}

/** Both ends of one comparison, told what to do. Ends its processes, also those that hang. */
export class Match implements AsyncDisposable {
  readonly listener: Child<PeerEnd>
  readonly dialer: Child<PeerEnd>

  private constructor(listener: Child<PeerEnd>, dialer: Child<PeerEnd>) {
    this.listener = listener
    this.dialer = dialer
  }

  /** @param places the machines of listener and dialer; both on this one when left out */
  static async open(peer: Peer, places?: readonly [Place, Place]): Promise<Match> {
    checkInstalled(peer)
    const end = (place?: Place): Child<PeerEnd> => new Child(new URL('./peer-end.js', import.meta.url), { execArgv: ['--expose-gc', '--no-warnings'], prefix: place?.prefix ?? [] })
    const match = new Match(end(places?.[0]), end(places?.[1]))
    const module = peer.module.endsWith('.mjs') ? new URL(`file://${sources}/peers/${peer.module}`).href : new URL(`./${peer.module}`, import.meta.url).href
    try {
      await Promise.all([match.listener, match.dialer].map((child, side) => child.ask('load', { module, options: peer.options ?? {}, ...(places === undefined ? {} : { host: places[side]!.address }) })))
      return match
    } catch (error) {
      await match[Symbol.asyncDispose]()
      throw error
    }
  }

  get pids(): Record<string, number> {
    return { dialer: this.dialer.pid, listener: this.listener.pid }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.listener[Symbol.asyncDispose](), this.dialer[Symbol.asyncDispose]()])
  }
}

function checkInstalled({ packages = [] }: Peer): void {
  const missing = packages.filter((name) => !existsSync(`${installed}/${name}/package.json`))
  if (missing.length > 0) throw new Unmeasurable(`${missing.join(', ')} not installed; \`npm ci --prefix bench\` installs what the bench compares with`)
}

/** What was measured: name and version of the packages that are installed. */
export function versionOf({ packages = [] }: Peer): string | undefined {
  const versions = packages.filter((name) => existsSync(`${installed}/${name}/package.json`)).map((name) => {
    const { version } = JSON.parse(readFileSync(`${installed}/${name}/package.json`, 'utf8')) as { readonly version: string }
    return `${name} ${version}`
  })
  return versions.length === 0 ? undefined : versions.join(', ')
}

/** Runs a match and gives up on it when it hangs: a library that stops is a failed measurement, not a bench that stops. */
export async function play(peer: Peer, { progress }: Tools, work: (match: Match) => Promise<Sample>, places?: readonly [Place, Place]): Promise<Sample> {
  progress('starting')
  await using match = await Match.open(peer, places)
  let timer: NodeJS.Timeout | undefined
  const stuck = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${peer.name} did not finish within ${STUCK_MS / 1000} s.`)), STUCK_MS)
  })
  try {
    const sample = await Promise.race([work(match), stuck])
    return { ...sample, notes: [...(sample.notes ?? []), ...[versionOf(peer), peer.note].filter((note) => note !== undefined)] }
  } catch (error) {
    // What a library of others cannot do here is not the bench's failure, but it is said.
    if (error instanceof Unmeasurable || peer.packages === undefined) throw error
    throw new Unmeasurable(`it failed: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    clearTimeout(timer)
  }
}

/** A match with one connection through it. */
export async function join({ listener, dialer }: Match, kind: PipeKind, way: Way): Promise<void> {
  const meeting = await listener.ask('listen', { way })
  await dialer.ask('dial', { meeting, kind })
  // Some libraries open a stream at the other side a moment later.
  await sleep(100)
}
