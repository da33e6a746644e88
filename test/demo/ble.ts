import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'postern/client'
import type { LossyProxy } from './lossy-proxy.ts'
import { pathKind } from './path-watch.ts'
import { names, type Screen } from './screen.ts'

const LOOK_MS = 20
/** A backend is a process that loads packages; it opens its radio again by itself meanwhile. */
const RADIO_PATIENCE_MS = 20_000
/** The `virtual` backend drives its controller by these two. */
const PACKAGES = ['@abandonware/noble', '@abandonware/bleno'] as const
/** What a good phone gives: all of its links together, with data at the connection events only. */
const AIR_BITS_PER_SECOND = 400_000

/** How the session came from Bluetooth to the network. `undefined`: it did not, while the game lasted. */
export interface BleResult {
  /** From the start of the daemons: Bluetooth on, paired by a code, and in session. */
  readonly pairedMs: number
  readonly healedAtRound: number | undefined
  /** Datagrams that the two daemons had received when the network came back. */
  readonly datagramsBefore: number | undefined
  /** From the network's return until both daemons used UDP. */
  readonly toUdpMs: number | undefined
}

/** A sentence if the packages that the virtual radio needs are not here. */
export function whyNoBluetooth(): string | undefined {
  const { resolve } = createRequire(import.meta.url)
  const missing = PACKAGES.filter((name) => {
    try {
      resolve(name)
      return false
    } catch {
      return true
    }
  })
  return missing.length === 0 ? undefined : `The demo over Bluetooth needs ${missing.join(' and ')}, which ${missing.length === 1 ? 'is' : 'are'} optional and not installed; \`npm install\` without \`--omit=optional\` brings them.`
}

/** As far as the demo uses them, from the built product: it gives clients no way to them. */
interface AirModules {
  readonly VirtualAir: new (options: { readonly time: unknown; readonly connectionEvents: boolean; readonly bitsPerSecond: number }) => object
  readonly AirServer: { listen(air: object, path: string): Promise<{ close(): Promise<void> }> }
  readonly realAirTime: () => unknown
}

/** A room with nothing but radios in it, served to daemons at a unix socket. */
export async function openAir(socket: string): Promise<AsyncDisposable> {
  const load = (name: string): Promise<Partial<AirModules>> => import(new URL(`../dist/sim/air/${name}.js`, import.meta.url).href) as Promise<Partial<AirModules>>
  const { VirtualAir, AirServer, realAirTime } = Object.assign({}, ...(await Promise.all(['air', 'serve-air', 'air-time'].map(load)))) as AirModules
  const server = await AirServer.listen(new VirtualAir({ time: realAirTime(), connectionEvents: true, bitsPerSecond: AIR_BITS_PER_SECOND }), socket)
  return { [Symbol.asyncDispose]: () => server.close() }
}

/** Pairs two machines in range, as `postern pair` does on both: the two people read the same eight digits. */
export async function pairInRange(host: Client, guest: Client): Promise<string> {
  await Promise.all([radioOn(host, names.host), radioOn(guest, names.guest)])
  await Promise.all([host.pairStart(), guest.pairStart()])
  const [here, there] = await Promise.all([codeAt(host), codeAt(guest)])
  if (here.code !== there.code) throw new Error(`the codes differ: ${here.code} at ${names.host}, ${there.code} at ${names.guest}`)
  await Promise.all([host.pairAnswer(here.peer, true), guest.pairAnswer(there.peer, true)])
  for (const client of [host, guest]) await until(async () => (await client.pairStatus()).exchanges.every(({ state }) => state !== 'accepted'))
  await Promise.all([host.pairStop(), guest.pairStop()])
  await Promise.all([host.addPeer(here.peer, { name: names.guest }), guest.addPeer(there.peer, { name: names.host })])
  // The exchange had a connection of its own: the session of the two that are friends now comes after it.
  await until(async () => (await Promise.all([pathKind(host), pathKind(guest)])).every((kind) => kind === 'ble'))
  return here.code
}

async function radioOn(client: Client, name: string): Promise<void> {
  const end = performance.now() + RADIO_PATIENCE_MS
  await until(async () => {
    const { state, reason } = await client.bleStatus()
    if (state !== 'on' && performance.now() > end) throw new Error(`${name} has no Bluetooth: ${reason === '' ? state : reason}`)
    return state === 'on'
  })
}

async function codeAt(client: Client): Promise<{ readonly peer: string; readonly code: string }> {
  for (;;) {
    const { open, exchanges } = await client.pairStatus()
    const met = exchanges.find(({ state }) => state !== 'ended')
    if (met !== undefined) return met
    if (!open) throw new Error('the two machines did not find each other')
    await sleep(LOOK_MS)
  }
}

/** The deadline of the demo ends it. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(LOOK_MS)
}

/** Lets the network come back in mid-game, and watches until both daemons use it. */
export class Upgrade implements AsyncDisposable {
  readonly #proxy: LossyProxy
  readonly #host: Client
  readonly #guest: Client
  readonly #screen: Screen
  readonly #stop = new AbortController()
  #result: BleResult
  #running: Promise<void> = Promise.resolve()

  constructor(proxy: LossyProxy, host: Client, guest: Client, screen: Screen, pairedMs: number) {
    this.#proxy = proxy
    this.#host = host
    this.#guest = guest
    this.#screen = screen
    this.#result = { pairedMs, healedAtRound: undefined, datagramsBefore: undefined, toUdpMs: undefined }
  }

  begin(round: number): void {
    this.#running = this.#heal(round)
    // What went wrong shows in the result: it lacks something.
    this.#running.catch(() => undefined)
  }

  /** Ends the watching: the game is over. */
  async end(): Promise<BleResult> {
    await this[Symbol.asyncDispose]()
    return this.#result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running.catch(() => undefined)
  }

  async #heal(round: number): Promise<void> {
    const states = await Promise.all([this.#host.status(), this.#guest.status()])
    const datagramsBefore = states.reduce((sum, { counters }) => sum + (counters['udp_received_datagrams'] ?? 0), 0)
    this.#proxy.healAll()
    const since = performance.now()
    this.#result = { ...this.#result, healedAtRound: round, datagramsBefore }
    this.#screen.note('✓ there is a network now, and it is a bad one')
    // Loopback is in no list of candidates, and brings no news from the kernel. On a real network the daemons tell each other where they are; here
    // one is told the address.
    await this.#guest.addPeer(this.#host.peerId, { candidates: [this.#proxy.address] })
    while (!this.#stop.signal.aborted) {
      const kinds = await Promise.all([pathKind(this.#host), pathKind(this.#guest)])
      if (kinds.every((kind) => kind === 'udp')) {
        const toUdpMs = Math.round(performance.now() - since)
        this.#result = { ...this.#result, toUdpMs }
        this.#screen.note(`⇢ both daemons go on over UDP, ${toUdpMs} ms after the network came back`)
        return
      }
      await sleep(LOOK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
  }
}
