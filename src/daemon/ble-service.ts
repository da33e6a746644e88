import { formatBleAddress, isBleAddress } from '../core/base/ble-address.ts'
import { millisecond } from '../core/base/time.ts'
import { bleRadioLimits } from '../core/ble/limits.ts'
import type { FindFriend } from '../core/ble/sightings.ts'
import type { PeerHandle } from '../core/endpoint/contract.ts'
import type { BleDevice, BleLinkInfo, BleNearbyResult, BleState, BleStatusResult, IpcBleHealth } from '../core/wire/ipc-ble.ts'
import type { AdapterState, BackendName, BackendOptions } from '../net/ble/backend.ts'
import { newBleCounters } from '../net/ble/ble-counters.ts'
import { BleDriver, type BleHost, type NearbyDevice } from '../net/ble/ble.ts'
import { BackendProcess, type ProcessSystem } from '../net/ble/process.ts'
import { processSystem } from '../net/ble/process-system.ts'
import { loadAddon } from '../platform/addon.ts'
import { lookForAdapter, thisMachine, type Machine } from './ble-adapters.ts'
import { BackendChoice, type BackendHealth } from './ble-choice.ts'
import type { Config } from './config-schema.ts'
import { FriendsInRange } from './friends-in-range.ts'
import type { Log } from './log.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { PairingService } from './pairing-service.ts'
import { logRadio, type RadioEvent } from './radio-log.ts'

/** Hints change with the hour, here and there; clocks may be set. */
const PRESENCE_MS = 60_000
/** A dongle may be plugged in at any time: the directory of adapters is read again after this, and it is seen whether the backend is the right one. */
const LOOK_MS = 30_000
/** A friend in range is heard within a second where both look hard, and within seconds where the other one looks now and then. */
const APPEAR_MS = 8000

const states: Readonly<Record<AdapterState, string>> = {
  on: 'Bluetooth works.',
  off: 'The Bluetooth adapter is switched off.',
  absent: 'There is no Bluetooth adapter that works.',
  no_permission: 'This user may not use the Bluetooth adapter.',
  blocked: 'Bluetooth is blocked by rfkill (aeroplane mode, or a switch).',
  resetting: 'The Bluetooth adapter is being started again.',
  busy: 'Another program has the Bluetooth adapter.',
}

export interface BleServiceOptions {
  readonly config: Config['ble']
  readonly log: Log
  /** Everything noted so far is on disk. */
  readonly persisted: () => Promise<void>
  readonly machine?: Machine
  readonly processes?: ProcessSystem
  readonly env?: NodeJS.ProcessEnv
  /** Where the native addon is. */
  readonly addon?: () => string | undefined
}

/** The kernel's user channel is opened by the addon, which the backend's process loads for itself. */
function addonPath(): string | undefined {
  const state = loadAddon()
  return state.kind === 'loaded' ? state.addon.path : undefined
}

/** Bluetooth in this daemon: whether there is any, which backend drives it, who is in range. Nothing is started where nothing is found. */
export class BleService {
  readonly #runtime: NodeRuntime
  readonly #options: BleServiceOptions
  readonly #config: Config['ble']
  readonly #disabled: string | undefined
  readonly pairing: PairingService
  readonly #friends: FriendsInRange
  readonly #choice: BackendChoice
  #backend: BackendName | undefined
  #process: BackendProcess | undefined
  #driver: BleDriver | undefined
  /** Of the machine, before there is a driver. */
  #reason = 'Bluetooth has not been looked for yet.'
  #look: NodeJS.Timeout | undefined
  #keeper: NodeJS.Timeout | undefined
  #presence: NodeJS.Timeout | undefined
  #presenceDue = false
  readonly #find: FindFriend = (hint) => this.#runtime.endpoint.radio.findByHint(this.#runtime.now(), hint)

  constructor(runtime: NodeRuntime, options: BleServiceOptions) {
    this.#runtime = runtime
    this.#options = options
    this.#config = options.config
    this.#friends = new FriendsInRange(runtime, options.config.connect)
    this.pairing = new PairingService(runtime, this, options.persisted)
    this.#choice = new BackendChoice(options.machine ?? thisMachine, options.config.backend, options.addon ?? addonPath)
    const env = options.env ?? process.env
    if (options.config.enabled === 'off') this.#disabled = 'Bluetooth is switched off by [ble] enabled.'
    else if (env['POSTERN_BLE'] === '0') this.#disabled = 'Bluetooth is switched off by POSTERN_BLE=0.'
  }

  /** Looks for an adapter, and starts what drives it. */
  async start(): Promise<void> {
    if (this.#disabled !== undefined || this.#driver !== undefined) return
    const { backend, enabled } = this.#config
    const look = lookForAdapter(this.#options.machine ?? thisMachine)
    if (backend !== 'auto') this.#backend = backend
    else if (look.kind === 'found') this.#backend = look.backend
    else if (enabled === 'on') this.#backend = 'hci'
    // An air is no adapter of the machine: it is there because the configuration names it.
    const wanted = enabled === 'on' || look.kind === 'found' || backend === 'virtual'
    if (wanted && this.#backend !== undefined) return this.#open(this.#backend)
    this.#reason = look.kind === 'none' ? look.reason : ''
    this.#look = setTimeout(() => void this.start().catch((error: unknown) => this.#failed(error)), LOOK_MS).unref()
  }

  #failed(error: unknown): void {
    this.#reason = error instanceof Error ? error.message : String(error)
    this.#options.log.warn('Bluetooth could not be started', { error: this.#reason })
  }

  async #open(name: BackendName): Promise<void> {
    const { mode, linksOut, linksIn } = this.#config
    const { processes = processSystem } = this.#options
    this.#driver = new BleDriver(this.#host(), {
      mode, radioLimits: { ...bleRadioLimits, outMax: linksOut, inMax: linksIn },
      backend: () => {
        this.#process = new BackendProcess(this.#optionsOf(name), processes)
        this.#process.start()
        return this.#process
      },
    })
    this.#keeper = setInterval(() => this.keep(performance.now()), LOOK_MS).unref()
    this.#presence = setInterval(() => this.#refresh(), PRESENCE_MS).unref()
    this.#refresh()
    this.#runtime.addDialer(this.#driver)
    await this.#driver.start()
  }

  #optionsOf(name: BackendName): BackendOptions {
    const { adapter, socket } = this.#config
    const addon = name === 'hci' ? (this.#options.addon ?? addonPath)() : undefined
    return { name, ...(adapter === undefined ? {} : { adapter }), ...(socket === undefined ? {} : { socket }), ...(addon === undefined ? {} : { addon }) }
  }

  #backendHealth(): BackendHealth | undefined {
    if (this.#driver === undefined || this.#process === undefined || this.#backend === undefined) return undefined
    return { backend: this.#backend, state: this.#driver.adapter.state, over: this.#process.over }
  }

  /** Begins another backend, or the same anew, where that may help. */
  keep(now: number): void {
    const health = this.#backendHealth()
    const name = health === undefined ? undefined : this.#choice.next(now, health)
    if (name === undefined) return
    this.#options.log.info('Bluetooth is tried with another backend, or anew', { backend: name, because: this.reason })
    this.#backend = name
    this.#process?.reopen(this.#optionsOf(name))
  }

  #host(): BleHost {
    const runtime = this.#runtime
    return {
      arena: runtime.arena,
      opened: (info, token) => runtime.opened(info, token),
      changed: (link, state, cause) => runtime.changed(link, state, cause),
      refused: (link, addresses, reason) => runtime.refused(link, addresses, reason),
      tooLarge: (link, length) => runtime.tooLarge(link, length),
      received: (batch) => runtime.received(batch),
      dialFailed: (token, cause) => runtime.dialFailed(token, cause),
      nearby: (peer, address) => this.#nearby(peer, address),
      adapter: (state, detail) => this.#options.log[state === 'on' ? 'info' : 'warn']('Bluetooth', { state, detail }),
    }
  }

  #nearby(peer: PeerHandle, address: Uint8Array | undefined): void {
    this.#options.log.info(address === undefined ? 'a friend left the range of Bluetooth' : 'a friend is in range of Bluetooth', { id: this.#runtime.endpoint.peerId(peer) ?? '' })
    this.#runtime.endpoint.handleNearby(this.#runtime.now(), peer, address)
    if (address !== undefined) this.#friends.came(peer)
    this.#runtime.schedule()
  }

  /** Looks hard for a peer to whom no other way leads; whether it came into range. Nobody is waited for without an adapter. */
  async appears(peer: PeerHandle, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (this.state !== 'on' && this.state !== 'resetting') return false
    this.search()
    return await this.#friends.waitFor(peer, Math.min(APPEAR_MS, timeoutMs), signal)
  }

  /** Somebody joined the roster or left it, or a presence key is another one: looked at once per turn. */
  presenceChanged(): void {
    if (this.#presenceDue || this.#driver === undefined) return
    this.#presenceDue = true
    setImmediate(() => this.#refresh())
  }

  /** The hint of this hour, and whose hints are whose. */
  #refresh(): void {
    this.#presenceDue = false
    this.#driver?.setHint(this.#runtime.endpoint.radio.hint(this.#runtime.now()))
    this.#driver?.setFriends(this.#find)
    this.#runtime.schedule()
  }

  /** Who was heard lately, friends and strangers. */
  devices(): readonly NearbyDevice[] {
    return this.#driver?.nearby() ?? []
  }

  onEvent(event: RadioEvent): void {
    logRadio(this.#options.log, event, (peer) => this.#runtime.endpoint.peerId(peer) ?? '')
    this.pairing.onEvent(event)
  }

  /** Looks hard for half a minute: the network is gone, or somebody asks. */
  search(): void {
    this.#driver?.search()
  }

  /** There is an adapter, be it switched off for now. */
  get present(): boolean {
    return this.#driver !== undefined && this.#driver.adapter.state !== 'absent'
  }

  get works(): boolean {
    return this.state === 'on'
  }

  get state(): BleState {
    if (this.#disabled !== undefined) return 'disabled'
    return this.#driver?.adapter.state ?? 'absent'
  }

  get reason(): string {
    if (this.#disabled !== undefined) return this.#disabled
    if (this.#driver === undefined) return this.#reason
    const { state, detail } = this.#driver.adapter
    const health = this.#backendHealth()
    const more = health === undefined ? undefined : this.#choice.whyNotAlone(health)
    return `${states[state].slice(0, -1)}${detail === '' ? '' : `: ${detail.replace(/\.$/, '')}`}${more === undefined ? '' : `, ${more}`}.`
  }

  get health(): IpcBleHealth {
    return { state: this.state, reason: this.reason }
  }

  status(): BleStatusResult {
    const driver = this.#driver
    const nearby = this.devices()
    return {
      state: this.state, reason: this.reason, ...(driver === undefined || this.#backend === undefined ? {} : { backend: this.#backend }),
      mode: this.#config.mode, advertising: driver?.advertising === true, scanning: driver?.scanning === true,
      inRange: nearby.length, friendsInRange: new Set(nearby.flatMap(({ peer }) => peer ?? [])).size, links: this.#links(),
    }
  }

  nearby(): BleNearbyResult {
    this.search()
    const devices = this.devices().filter(({ peer }) => peer !== undefined || this.#config.strangers).map(({ address, rssi, age, peer }): BleDevice => {
      const stats = peer === undefined ? undefined : this.#runtime.endpoint.peerStats(peer)
      const id = peer === undefined ? undefined : this.#runtime.endpoint.peerId(peer)
      return {
        address, rssi, ageMs: Math.round(age / millisecond), ...(id === undefined ? {} : { peer: id }),
        ...(stats?.name === undefined ? {} : { name: stats.name }), ...(stats === undefined ? {} : { peerState: stats.state }),
      }
    })
    devices.sort((a, b) => Number(b.peer !== undefined) - Number(a.peer !== undefined) || b.rssi - a.rssi)
    return { state: this.state, reason: this.reason, devices }
  }

  #links(): BleLinkInfo[] {
    const { endpoint } = this.#runtime
    const owners = new Map<string, { readonly id: string | undefined; readonly name: string | undefined }>()
    for (const peer of endpoint.peers()) {
      const stats = endpoint.peerStats(peer)
      for (const path of stats?.paths ?? []) if (isBleAddress(path.address)) owners.set(formatBleAddress(path.address), { id: endpoint.peerId(peer), name: stats?.name })
    }
    return (this.#driver?.links() ?? []).map(({ id, info }): BleLinkInfo => {
      const address = formatBleAddress(info.remote!)
      const owner = owners.get(address)
      return {
        address, ...(owner?.id === undefined ? {} : { peer: owner.id }), ...(owner?.name === undefined ? {} : { name: owner.name }),
        dialed: info.dialed === true, use: endpoint.linkUse(id) ?? 'stranger',
      }
    })
  }

  /** All there are, also where nothing was started. */
  counters(): Readonly<Record<string, number>> {
    return this.#driver?.stats() ?? newBleCounters().snapshot()
  }

  /** The driver is closed with the runtime, after sessions said goodbye. */
  close(): void {
    clearTimeout(this.#look)
    clearInterval(this.#keeper)
    clearInterval(this.#presence)
    this.pairing.close()
  }
}
