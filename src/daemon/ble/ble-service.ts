import { isBleAddress } from '../../core/base/ble-address.ts'
import type { PowerMode } from '../../core/base/power-mode.ts'
import { bleRadioLimits } from '../../core/ble/limits.ts'
import type { FindFriend } from '../../core/ble/sightings.ts'
import type { PeerHandle } from '../../core/endpoint/contract.ts'
import type { BleNearbyResult, BlePowerResult, BleState, BleStatusResult, IpcBleHealth, IpcBleSummary } from '../../core/wire/ipc/ipc-ble.ts'
import type { AdapterState, BackendName, BackendOptions } from '../../net/ble/backend.ts'
import { newBleCounters } from '../../net/ble/ble-counters.ts'
import { BleDriver } from '../../net/ble/ble.ts'
import type { BleHost, BleLinkFacts, NearbyDevice } from '../../net/ble/ble-contract.ts'
import { BackendProcess, type ProcessSystem } from '../../net/ble/process.ts'
import { processSystem } from '../../net/ble/process-system.ts'
import { loadAddon } from '../../platform/addon.ts'
import { lookForAdapter, thisMachine, type Machine } from './ble-adapters.ts'
import { BackendChoice, type BackendHealth } from './ble-choice.ts'
import { bleDevices, bleLinks, powerControls, powerCosts } from './ble-view.ts'
import { BleWatch, type BleEvent, type BleScene } from './ble-watch.ts'
import type { Config } from '../config/config-schema.ts'
import { FriendsInRange } from './friends-in-range.ts'
import type { Log } from '../log/log.ts'
import type { NodeRuntime } from '../node-runtime.ts'
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
  /** Something is other than it was told, to those who subscribed: by its key. */
  readonly changed: (key: string) => void
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
  /** What changes, for who subscribed to it. */
  readonly watch: BleWatch
  #mode: PowerMode
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
    this.#mode = options.config.mode
    this.watch = new BleWatch(() => this.#scene(), (key) => options.changed(key))
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
    const { linksOut, linksIn } = this.#config
    const { processes = processSystem } = this.#options
    this.#driver = new BleDriver(this.#host(), {
      mode: this.#mode, radioLimits: { ...bleRadioLimits, outMax: linksOut, inMax: linksIn },
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
      opened: (info, token) => {
        this.watch.poke()
        return runtime.opened(info, token)
      },
      changed: (link, state, cause) => {
        if (state !== 'blocked' && state !== 'writable') this.watch.poke()
        runtime.changed(link, state, cause)
      },
      refused: (link, addresses, reason) => runtime.refused(link, addresses, reason),
      tooLarge: (link, length) => runtime.tooLarge(link, length),
      received: (batch) => runtime.received(batch),
      dialFailed: (token, cause) => runtime.dialFailed(token, cause),
      nearby: (peer, address) => this.#nearby(peer, address),
      adapter: (state, detail) => {
        this.#options.log[state === 'on' ? 'info' : 'warn']('Bluetooth', { state, detail })
        this.watch.poke()
      },
    }
  }

  #nearby(peer: PeerHandle, address: Uint8Array | undefined): void {
    this.#options.log.info(address === undefined ? 'a friend left the range of Bluetooth' : 'a friend is in range of Bluetooth', { id: this.#runtime.endpoint.peerId(peer) ?? '' })
    this.#runtime.endpoint.handleNearby(this.#runtime.now(), peer, address)
    if (address !== undefined) this.#friends.came(peer)
    this.watch.poke()
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
    this.watch.poke()
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

  get summary(): IpcBleSummary {
    return { ...this.health, mode: this.#mode, friendsInRange: friendsIn(this.devices()), links: this.#driver?.links().length ?? 0 }
  }

  status(): BleStatusResult {
    const driver = this.#driver
    const nearby = this.devices()
    return {
      state: this.state, reason: this.reason, ...(this.#backendName === undefined ? {} : { backend: this.#backendName }),
      mode: this.#mode, searching: driver?.searching === true, advertising: driver?.advertising === true, scanning: driver?.scanning === true,
      inRange: nearby.length, friendsInRange: friendsIn(nearby), links: bleLinks(this.#runtime, driver),
    }
  }

  get #backendName(): BackendName | undefined {
    return this.#driver === undefined ? undefined : this.#backend
  }

  /** Shows how much the radio is used, or sets it until the daemon ends. */
  power(mode: PowerMode | undefined): BlePowerResult {
    if (mode !== undefined && mode !== this.#mode) {
      this.#options.log.info('Bluetooth is used more, or less', { from: this.#mode, to: mode })
      this.#mode = mode
      this.#driver?.setMode(mode)
      this.watch.poke()
    }
    const backend = this.#backendName
    return {
      mode: this.#mode, configured: this.#config.mode, searching: this.#driver?.searching === true, ...(backend === undefined ? {} : { control: powerControls[backend] }), modes: powerCosts,
    }
  }

  nearby(): BleNearbyResult {
    this.search()
    const devices = bleDevices(this.#runtime, this.#driver, this.#config.strangers)
    return { ...this.health, devices, others: this.devices().length - devices.length }
  }

  /** What the radio knows of the link to this address. */
  linkFacts(address: Uint8Array): BleLinkFacts | undefined {
    return isBleAddress(address) ? this.#driver?.linkFacts(address) : undefined
  }

  #scene(): BleScene {
    const scene = new Map<string, BleEvent>()
    const backend = this.#backendName
    scene.set('adapter', { name: 'event.ble.adapter', params: { ...this.health, ...(backend === undefined ? {} : { backend }), mode: this.#mode } })
    for (const device of bleDevices(this.#runtime, this.#driver, this.#config.strangers)) scene.set(`device ${device.address}`, { name: 'event.ble.device', params: { ...device, inRange: true } })
    for (const link of bleLinks(this.#runtime, this.#driver)) scene.set(`link ${link.address}`, { name: 'event.ble.link', params: { ...link, open: true } })
    const { open, exchanges } = this.pairing.status()
    scene.set('window', { name: 'event.ble.pairing', params: { state: open ? 'open' : 'closed' } })
    for (const { peer, state } of exchanges) scene.set(`pair ${peer}`, { name: 'event.ble.pairing', params: { peer, state } })
    return scene
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
    this.watch.watch(false)
    this.pairing.close()
  }
}

function friendsIn(devices: readonly NearbyDevice[]): number {
  return new Set(devices.flatMap(({ peer }) => peer ?? [])).size
}
