import { hciStatus } from '../../../core/wire/hci.ts'
import type { AdapterState, BackendCommand, BackendEvent, BackendName, BleBackend, DropReason } from '../backend.ts'
import { HciCentral } from './central.ts'
import { EventQueue } from './event-queue.ts'
import { HciHost } from './host.ts'
import { LinkTable } from './link-table.ts'
import { HciMultiplexer } from './multiplexer.ts'
import { loadBleno, loadNoble } from './packages.ts'
import { HciSlot } from './peripheral.ts'
import { HciRadio } from './radio.ts'
import type { HciTime, OpenTransport } from './transport.ts'

/** Links that others dial, at once: the default of the daemon's own limit, and each costs a copy of bleno. */
const SLOTS = 4
/** Between attempts to have the adapter back: doubled from the first to the last. */
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000

/** One that failed sooner than this is no better than one that did not begin: the pause goes on growing. */
const STEADY_MS = 60_000
/** What was dropped is told together. */
const DROPS_MS = 1000

/** What the way to a controller failed with, as a state of the adapter. */
const stateOfCode: Readonly<Record<string, AdapterState>> = {
  EPERM: 'no_permission', EACCES: 'no_permission', ERFKILL: 'blocked', ENETDOWN: 'off', EBUSY: 'busy', EUSERS: 'busy', EALREADY: 'busy',
  ENODEV: 'absent', ENOENT: 'absent', ENOTDIR: 'absent', ECONNREFUSED: 'absent', EAFNOSUPPORT: 'absent', EPROTONOSUPPORT: 'absent', unusable: 'absent',
}

interface Controller {
  readonly host: HciHost
  readonly radio: HciRadio
}

export interface StackOptions {
  readonly name: BackendName
  readonly open: OpenTransport
  readonly time: HciTime
  readonly slotCount?: number
}

/**
 * The backend over HCI: noble for links that we dial, copies of bleno for links that dial us, one controller below. When the controller fails, goes away or
 * is reset, links end, the state is told, and it is opened anew after a pause that doubles; the packages live on and know nothing of it.
 */
export class HciStack implements BleBackend {
  readonly name: BackendName
  readonly #open: OpenTransport
  readonly #time: HciTime
  readonly #links: LinkTable
  readonly #central: HciCentral
  readonly #slots: readonly HciSlot[]
  readonly #multiplexer: HciMultiplexer
  #controller: Controller | undefined
  #advertise: (BackendCommand & { kind: 'advertise' }) | undefined
  #scan: (BackendCommand & { kind: 'scan' }) | undefined
  readonly #events: EventQueue = new EventQueue()
  #state: AdapterState | undefined
  #detail = ''
  #pauseMs = RETRY_MS_MIN
  /** When the controller of now, or the last one, had begun. */
  #attachedAt = 0
  readonly #drops = new Map<DropReason, number>()
  #cancelDrops: (() => void) | undefined
  #cancelPause: (() => void) | undefined
  #closed = false

  /** Loads the packages. Throws a `PackageError` when they are not there. */
  constructor({ name, open, time, slotCount = SLOTS }: StackOptions) {
    this.name = name
    this.#open = open
    this.#time = time
    const tell = (event: BackendEvent): void => this.#tell(event)
    this.#links = new LinkTable(tell)
    this.#central = new HciCentral(loadNoble(), this.#links, tell, time)
    this.#slots = Array.from({ length: slotCount }, () => new HciSlot(loadBleno(), this.#links, tell, time))
    this.#multiplexer = new HciMultiplexer(this.#central.tap, this.#slots.map((slot) => slot.tap), time)
    this.#multiplexer.onDrop = (reason) => this.#drop(reason)
    this.#multiplexer.onSlots = (full, came) => this.#slotsChanged(full, came)
  }

  /** Resolves when the packages are ready. The controller is opened after that, and its state told. */
  async begin(): Promise<void> {
    for (const part of [this.#central, ...this.#slots]) await part.begin(this.#multiplexer)
    void this.#attach()
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.#events.setHandler(handler)
  }

  command(command: BackendCommand): void {
    if (!this.#closed) this.#events.inside(() => this.#run(command))
  }

  close(): Promise<void> {
    this.#closed = true
    this.#cancelPause?.()
    this.#cancelDrops?.()
    const controller = this.#controller
    if (controller === undefined) return Promise.resolve()
    this.#controller = undefined
    controller.radio.stop()
    this.#multiplexer.detach(hciStatus.localEnded)
    // The others see their links end at once, and the adapter is left as it was found: silent.
    return new Promise((resolve) => {
      const done = (): void => {
        cancel()
        controller.host.close()
        resolve()
      }
      const cancel = this.#time.after(500, done)
      controller.host.finish(done)
    })
  }

  /** What is remembered of addresses: by the radio, and by noble. For tests and for people. */
  tableSizes(): { readonly heard: number; readonly package: number } {
    return { heard: this.#controller?.radio.heardCount ?? 0, package: this.#central.peripheralCount }
  }

  #run(command: BackendCommand): void {
    const radio = this.#controller?.radio
    switch (command.kind) {
      case 'advertise':
        this.#advertise = command
        radio?.advertise(command.on, command.hint, command.pace)
        return
      case 'scan':
        this.#scan = command
        radio?.scan(command.on, command.pace)
        return
      case 'connect':
        this.#central.connect(command.address.toLowerCase(), command.timeoutMs)
        return
      case 'disconnect':
        this.#links.disconnect(command.link)
        return
      case 'send':
        this.#links.send(command.link, command.value)
        return
      case 'stop':
        void this.close()
        return
      default:
        command satisfies never
    }
  }

  async #attach(): Promise<void> {
    let host: HciHost | undefined
    try {
      const transport = await this.#open()
      const failed = new Promise<never>((_, reject) => {
        host = new HciHost(transport, {
          ...this.#multiplexer.handler(),
          reports: (count, bytes) => this.#controller?.radio.takeReports(count, bytes),
          dropped: (reason) => this.#drop(reason),
          failed: (why) => {
            reject(new Error(why))
            this.#lost(host!, why)
          },
        }, this.#time)
      })
      failed.catch(() => undefined)
      if (this.#closed) host?.close()
      else if (host !== undefined) {
        await Promise.race([host.begin(), failed])
        this.#attached(host)
      }
    } catch (error) {
      host?.close()
      const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
      this.#retry(stateOfCode[code] ?? 'resetting', error instanceof Error ? error.message : String(error))
    }
  }

  /** It has begun; since then it may have failed, or is of no use any more. */
  #attached(host: HciHost): void {
    if (host.failure !== undefined) throw new Error(host.failure)
    if (this.#closed) {
      host.close()
      return
    }
    const radio = new HciRadio(host, this.#time, {
      sighted: (sighting) => this.#tell({ kind: 'seen', ...sighting }),
      fault: (detail) => this.#tell({ kind: 'fault', code: 'refused', detail }),
      dropped: () => this.#drop('hci'),
    })
    this.#controller = { host, radio }
    this.#attachedAt = this.#time.now()
    this.#multiplexer.attach(host)
    this.#central.setRadio(radio)
    this.#setState('on', `${this.name} ${host.address}`)
    if (this.#advertise !== undefined) radio.advertise(this.#advertise.on, this.#advertise.hint, this.#advertise.pace)
    if (this.#scan !== undefined) radio.scan(this.#scan.on, this.#scan.pace)
  }

  /** Also told while a controller begins: then `#attach` sees it. */
  #lost(host: HciHost, why: string): void {
    if (this.#controller?.host !== host) return
    this.#controller.radio.stop()
    this.#controller = undefined
    if (this.#time.now() - this.#attachedAt >= STEADY_MS) this.#pauseMs = RETRY_MS_MIN
    this.#central.setRadio(undefined)
    this.#multiplexer.detach(hciStatus.hardwareFailure)
    this.#central.failAll('the adapter has gone')
    this.#retry('resetting', why)
  }

  #retry(state: AdapterState, detail: string): void {
    if (this.#closed) return
    this.#setState(state, detail)
    this.#cancelPause = this.#time.after(this.#pauseMs, () => void this.#attach())
    this.#pauseMs = Math.min(RETRY_MS_MAX, 2 * this.#pauseMs)
  }

  #setState(state: AdapterState, detail: string): void {
    if (state === this.#state && detail === this.#detail) return
    this.#state = state
    this.#detail = detail
    this.#tell({ kind: 'adapter', state, detail })
  }

  #drop(reason: DropReason): void {
    this.#drops.set(reason, (this.#drops.get(reason) ?? 0) + 1)
    this.#cancelDrops ??= this.#time.after(DROPS_MS, () => {
      this.#cancelDrops = undefined
      for (const [dropped, count] of this.#drops) this.#tell({ kind: 'dropped', reason: dropped, count })
      this.#drops.clear()
    })
  }

  /** Legacy advertising ends when somebody connects; it begins again while there is a free slot. */
  #slotsChanged(full: boolean, came: boolean): void {
    const radio = this.#controller?.radio
    if (came) radio?.advertisingEnded()
    radio?.setFull(full)
  }

  #tell(event: BackendEvent): void {
    this.#events.tell(event)
  }
}
