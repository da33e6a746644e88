import { describe, expect, it } from 'vitest'
import { mayTakeAdapter, type Machine } from '../../../src/daemon/ble/ble-adapters.ts'
import { BackendChoice, type BackendHealth } from '../../../src/daemon/ble/ble-choice.ts'
import type { BackendName } from '../../../src/net/ble/backend.ts'

const minute = 60_000
const netAdmin = 'Name:\tnode\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n'

class FakeMachine implements Machine {
  readonly platform = 'linux'
  adapters: string[] = ['hci0']
  bus = true
  status: string | undefined = netAdmin
  /** Names of processes. */
  processes: string[] = ['node']
  readonly list = (path: string): readonly string[] => path === '/proc' ? ['self', ...this.processes.keys()].map(String) : this.adapters
  readonly exists = (): boolean => this.bus
  readonly read = (path: string): string | undefined => path.endsWith('/comm') ? `${this.processes[Number(path.split('/')[2])]!}\n` : this.status
}

/** The times and names of what was begun in an hour of asking every half minute, as long as the backend of then is in this health. */
function anHour(choice: BackendChoice, first: BackendName, healthOf: (backend: BackendName, now: number) => Partial<BackendHealth>): string[] {
  const begun: string[] = []
  let backend = first
  for (let now = 0; now <= 60 * minute; now += minute / 2) {
    const next = choice.next(now, { backend, state: 'absent', over: undefined, ...healthOf(backend, now) })
    if (next === undefined) continue
    backend = next
    begun.push(`${now / minute} ${next}`)
  }
  return begun
}

describe('a backend that failed for good', () => {
  it('is begun anew every ten minutes, and not more often', () => {
    const begun = anHour(new BackendChoice(new FakeMachine(), 'hci', () => '/addon'), 'hci', () => ({ over: 'failed' }))
    expect(begun).toEqual(['10 hci', '20.5 hci', '31 hci', '41.5 hci', '52 hci'])
  })

  it('is begun anew when an adapter comes or goes, but not for a link of one', () => {
    const machine = new FakeMachine()
    const choice = new BackendChoice(machine, 'hci', () => '/addon')
    const health = { backend: 'hci', state: 'absent', over: 'failed' } as const
    expect(choice.next(0, health)).toBeUndefined()
    machine.adapters = ['hci0', 'hci0:12']
    expect(choice.next(1000, health)).toBeUndefined()
    machine.adapters = ['hci0', 'hci1']
    expect(choice.next(2000, health)).toBe('hci')
    expect(choice.next(3000, health)).toBeUndefined()
    machine.adapters = []
    expect(choice.next(4000, health)).toBe('hci')
  })

  it('is believed when it says that it can never work here, and left alone while it waits by itself', () => {
    const choice = (): BackendChoice => new BackendChoice(new FakeMachine(), 'hci', () => '/addon')
    expect(anHour(choice(), 'hci', () => ({ over: 'unsupported' }))).toEqual([])
    expect(anHour(choice(), 'hci', () => ({}))).toEqual([])
  })
})

describe('auto', () => {
  it('takes the adapter alone when bluetoothd has none for a while, and goes back in ten minutes if that does not work either', () => {
    const begun = anHour(new BackendChoice(new FakeMachine(), 'auto', () => '/addon'), 'bluez', (backend) => (backend === 'hci' ? { state: 'blocked' } : {}))
    expect(begun).toEqual(['1 hci', '11.5 bluez', '13 hci', '23.5 bluez', '25 hci', '35.5 bluez', '37 hci', '47.5 bluez', '49 hci', '59.5 bluez'])
    for (const state of ['busy', 'resetting'] as const) {
      expect(anHour(new BackendChoice(new FakeMachine(), 'auto', () => '/addon'), 'bluez', (backend) => (backend === 'hci' ? { state } : {}))).toEqual(begun)
    }
  })

  it('gives the adapter back to a bluetoothd that is started while it stands in for it, once; not to one that ran all the while without an adapter', () => {
    const machine = new FakeMachine()
    const choice = new BackendChoice(machine, 'auto', () => '/addon')
    const alone = { backend: 'hci', state: 'on', over: undefined } as const
    expect(choice.next(0, alone)).toBeUndefined()
    machine.processes = ['node', 'bluetoothd']
    expect(choice.next(minute, alone)).toBe('bluez')
    // It has none: the adapter is taken again, and bluetoothd still runs.
    expect(choice.next(2 * minute, { backend: 'bluez', state: 'absent', over: undefined })).toBeUndefined()
    expect(choice.next(3 * minute, { backend: 'bluez', state: 'absent', over: undefined })).toBe('hci')
    for (let i = 4; i < 10; i++) expect(choice.next(i * minute, alone)).toBeUndefined()
    machine.processes = ['node']
    expect(choice.next(10 * minute, alone)).toBeUndefined()
    machine.processes = ['bluetoothd']
    expect(choice.next(11 * minute, alone)).toBe('bluez')
  })

  it('looks for no bluetoothd where hci was named, or where there is no bus', () => {
    const machine = new FakeMachine()
    machine.bus = false
    const alone = { backend: 'hci', state: 'on', over: undefined } as const
    for (const choice of [new BackendChoice(machine, 'auto', () => '/addon'), new BackendChoice(new FakeMachine(), 'hci', () => '/addon')]) {
      machine.processes = ['node']
      expect(choice.next(0, alone)).toBeUndefined()
      machine.processes = ['bluetoothd']
      expect(choice.next(minute, alone)).toBeUndefined()
    }
  })

  it('stays with what works, with an adapter that is switched off or blocked, and with a bluetoothd that does not let us in', () => {
    for (const state of ['on', 'off', 'blocked', 'no_permission', 'resetting'] as const) {
      expect(anHour(new BackendChoice(new FakeMachine(), 'auto', () => '/addon'), 'bluez', () => ({ state }))).toEqual([])
    }
  })

  it('falls back where the package for the bus is missing', () => {
    expect(anHour(new BackendChoice(new FakeMachine(), 'auto', () => '/addon'), 'bluez', (backend) => (backend === 'bluez' ? { over: 'unsupported' } : { state: 'on' }))).toEqual(['1 hci'])
  })

  it('does not where it may not, or there is nothing to drive', () => {
    const [without, empty] = [new FakeMachine(), new FakeMachine()]
    without.status = 'CapEff:\t0000000000000fff\n'
    empty.adapters = []
    for (const machine of [without, empty]) expect(anHour(new BackendChoice(machine, 'auto', () => '/addon'), 'bluez', () => ({}))).toEqual([])
    expect(anHour(new BackendChoice(new FakeMachine(), 'auto', () => undefined), 'bluez', () => ({}))).toEqual([])
  })
})

it('the capability is read from the mask of the process', () => {
  const machine = new FakeMachine()
  expect(mayTakeAdapter(machine)).toBe(true)
  for (const status of ['CapEff:\t00000000a80425fb\n', 'CapEff:\t0000000000000000\n', 'nonsense', undefined]) {
    machine.status = status
    expect(mayTakeAdapter(machine), status).toBe(false)
  }
})
