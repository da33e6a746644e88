import type { AdapterState, BackendName } from '../../net/ble/backend.ts'
import { bluetoothdRuns, lookForAdapter, machineMark, mayTakeAdapter, type Machine } from './ble-adapters.ts'

/** bluetoothd may be slower to start than this daemon, and taking an adapter alone takes it from headsets: only after this without it. */
const ALONE_AFTER_MS = 45_000
/** What failed for good, or stands in for the backend that is preferred and does not work either, is begun anew after this if nothing changes. */
const RETRY_MS = 600_000

/** The backend of now, and how it is. */
export interface BackendHealth {
  readonly backend: BackendName
  readonly state: AdapterState
  /** No process of it is started any more by itself. */
  readonly over: 'failed' | 'unsupported' | undefined
}

//  auto:   bluez ── bluetoothd or its adapter is missing for 45 s ──▶ hci ── does not work; the machine changes, or 10 min ──▶ bluez
//          hci, since bluetoothd was missing ── bluetoothd is started ──▶ bluez
//  named:  failed ten times ── the machine changes, or 10 min ──▶ the same
/** Which backend is to run. Asked every half minute, it answers with one to begin, or with nothing: so nothing is begun more often than that. */
export class BackendChoice {
  readonly #machine: Machine
  readonly #configured: BackendName | 'auto'
  /** Where the addon is that opens an adapter alone. */
  readonly #addon: () => string | undefined
  #mark: string
  #failingSince: number | undefined
  /** While the adapter is driven alone in its stead: whether bluetoothd ran at the last look. */
  #bluetoothd: boolean | undefined

  constructor(machine: Machine, configured: BackendName | 'auto', addon: () => string | undefined) {
    this.#machine = machine
    this.#configured = configured
    this.#addon = addon
    this.#mark = machineMark(machine)
  }

  /** The backend to begin now, if another or the same is to be begun. Milliseconds of a clock that never goes back. */
  next(now: number, health: BackendHealth): BackendName | undefined {
    const mark = machineMark(this.#machine)
    const isChanged = mark !== this.#mark
    this.#mark = mark
    if (this.#bluetoothdCame(health)) return 'bluez'
    if (!this.#isFailing(health)) {
      this.#failingSince = undefined
      return undefined
    }
    this.#failingSince ??= now
    const failingFor = now - this.#failingSince
    const chosen = this.#afterFailure(health, failingFor, isChanged)
    if (chosen !== undefined) this.#failingSince = undefined
    return chosen
  }

  /** In words that go on after a comma, why the adapter is not taken alone where bluetoothd has none. */
  whyNotAlone(health: BackendHealth): string | undefined {
    if (!this.#lacksBluetoothd(health)) return undefined
    if (lookForAdapter(this.#machine).kind === 'none') return undefined
    if (!mayTakeAdapter(this.#machine)) return 'and to drive the adapter without bluetoothd this process needs the capability CAP_NET_ADMIN'
    if (this.#addon() === undefined) return 'and to drive the adapter without bluetoothd the native addon is needed, which is not built'
    return undefined
  }

  #afterFailure(health: BackendHealth, failingFor: number, isChanged: boolean): BackendName | undefined {
    const look = lookForAdapter(this.#machine)
    const preferred = this.#configured === 'auto' && look.kind === 'found' ? look.backend : health.backend
    if (this.#lacksBluetoothd(health) && look.kind === 'found' && this.whyNotAlone(health) === undefined) return failingFor >= ALONE_AFTER_MS ? 'hci' : undefined
    // One that waits for its adapter by itself is left alone, and one that says that it can never work here is believed.
    if (health.backend === preferred && health.over !== 'failed') return undefined
    return isChanged || failingFor >= RETRY_MS ? preferred : undefined
  }

  /** It was started while we stood in for it: it gets its adapter, which headsets and keyboards wait for. One that ran all the while has none that it could use. */
  #bluetoothdCame({ backend }: BackendHealth): boolean {
    const look = lookForAdapter(this.#machine)
    const standsIn = this.#configured === 'auto' && backend === 'hci' && look.kind === 'found' && look.backend === 'bluez'
    const before = this.#bluetoothd
    this.#bluetoothd = standsIn ? bluetoothdRuns(this.#machine) : undefined
    return before === false && this.#bluetoothd === true
  }

  #isFailing({ backend, state, over }: BackendHealth): boolean {
    if (over !== undefined || this.#configured !== 'auto') return over !== undefined
    // bluetoothd may have come meanwhile, and taken an adapter that had to be begun anew.
    return state === 'absent' || state === 'no_permission' || state === 'blocked' || state === 'busy' || (backend === 'hci' && state === 'resetting')
  }

  #lacksBluetoothd({ backend, state }: BackendHealth): boolean {
    // One that runs and does not let us in has the adapter, and keeps it.
    return this.#configured === 'auto' && backend === 'bluez' && state === 'absent'
  }
}
