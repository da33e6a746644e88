import { Duplex } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../../src/core/base/arena.ts'
import { encodeBleAddress } from '../../../src/core/base/ble-address.ts'
import type { PeerHandle } from '../../../src/core/endpoint/contract.ts'
import { lookForAdapter, type Machine } from '../../../src/daemon/ble/ble-adapters.ts'
import { BleService } from '../../../src/daemon/ble/ble-service.ts'
import type { Config } from '../../../src/daemon/config/config-schema.ts'
import type { NodeRuntime } from '../../../src/daemon/node-runtime.ts'
import type { ConnectionDriver } from '../../../src/net/driver.ts'
import type { BackendOptions } from '../../../src/net/ble/backend.ts'
import { encodeEvent, type PipeEvent } from '../../../src/net/ble/pipe.ts'
import type { Child, ProcessSystem } from '../../../src/net/ble/process.ts'
import { until } from '../../net/udp-support.ts'

const defaults: Config['ble'] = { enabled: 'auto', backend: 'auto', adapter: undefined, socket: undefined, mode: 'active', strangers: false, connect: 'sessions', linksOut: 6, linksIn: 4 }
const peer = 3 as PeerHandle

function machine(adapters: readonly string[] | undefined, bus = true, platform: NodeJS.Platform = 'linux', capabilities = 'CapEff:\t0000000000000000\n'): Machine {
  return { platform, list: (path) => path === '/sys/class/bluetooth' ? adapters : undefined, exists: () => bus, read: () => capabilities }
}

/** Processes that are none: the test says what comes from them. */
class Processes implements ProcessSystem {
  readonly started: BackendOptions[] = []
  readonly now = (): number => performance.now()
  readonly setTimeout = (): unknown => 0
  readonly clearTimeout = (): void => undefined
  readonly random = (): number => 0.5
  #pipe: Duplex | undefined
  #exit: ((how: string) => void) | undefined

  spawn(options: BackendOptions): Child {
    this.started.push(options)
    const pipe = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
    this.#pipe = pipe
    return { pipe, onExit: (handler) => { this.#exit = handler }, kill: () => undefined }
  }

  say(event: PipeEvent): void {
    this.#pipe!.emit('data', Buffer.from(encodeEvent(event)))
  }

  exit(how: string): void {
    this.#exit?.(how)
  }
}

class Scene {
  readonly processes: Processes = new Processes()
  readonly logged: string[] = []
  readonly changes: string[] = []
  readonly around: (string | undefined)[] = []
  readonly dialers: ConnectionDriver[] = []
  readonly service: BleService
  friendsHint: Uint8Array = Uint8Array.of(1, 2, 3, 4, 5, 6)

  constructor(config: Partial<Config['ble']>, look: Machine, env: NodeJS.ProcessEnv = {}, addon?: string) {
    const note = (message: string, fields?: object): void => void this.logged.push(`${message} ${JSON.stringify(fields ?? {})}`)
    const runtime = {
      arena: new Arena(1 << 20), addDialer: (driver: ConnectionDriver) => this.dialers.push(driver), now: () => ({ mono: 0, wall: 0 }), schedule: () => undefined,
      endpoint: {
        radio: { pairingOpen: () => false, hint: () => Uint8Array.of(9, 9, 9, 9, 9, 9), findByHint: (_now: unknown, hint: Uint8Array) => hint.join() === this.friendsHint.join() ? peer : undefined },
        peerId: () => 'id of ana', peers: () => [], linkUse: () => undefined, peerStats: () => ({ name: 'ana', state: 'unreachable', paths: [] }),
        handleNearby: (_now: unknown, _peer: PeerHandle, address: Uint8Array | undefined) => this.around.push(address === undefined ? undefined : Buffer.from(address).toString('hex')),
      },
    }
    this.service = new BleService(runtime as unknown as NodeRuntime, {
      config: { ...defaults, ...config }, log: { info: note, warn: note, error: note, debug: note } as never, machine: look, processes: this.processes, env, addon: () => addon, persisted: () => Promise.resolve(), changed: (key) => void this.changes.push(key),
    })
  }

  async close(): Promise<void> {
    this.service.close()
    for (const driver of this.dialers) {
      const closed = driver.close()
      this.processes.exit('ended')
      await closed
    }
  }
}

let scene: Scene | undefined
afterEach(async () => {
  await scene?.close()
  scene = undefined
})

async function started(config: Partial<Config['ble']>, look: Machine, env?: NodeJS.ProcessEnv, addon?: string): Promise<Scene> {
  scene = new Scene(config, look, env, addon)
  await scene.service.start()
  return scene
}

describe('a cheap look at the machine', () => {
  it('finds an adapter where the kernel lists one, and what drives it', () => {
    expect(lookForAdapter(machine(['hci0', 'hci0:12']))).toEqual({ kind: 'found', backend: 'bluez' })
    expect(lookForAdapter(machine(['hci1'], false))).toEqual({ kind: 'found', backend: 'hci' })
    expect(lookForAdapter(machine(undefined, false, 'darwin'))).toEqual({ kind: 'found', backend: 'corebluetooth' })
  })

  it('says in a sentence why there is none', () => {
    for (const look of [machine(undefined), machine([]), machine(['hci0:12']), machine(['hci0'], true, 'win32')]) {
      const found = lookForAdapter(look)
      expect(found.kind === 'none' && found.reason).toMatch(/^[A-Z].*\.$/)
    }
  })
})

describe('where there is no Bluetooth', () => {
  it.each([
    ['without an adapter', {}, machine([]), {}, 'absent', 'This machine has no Bluetooth adapter (nothing in /sys/class/bluetooth).'],
    ['switched off', { enabled: 'off' }, machine(['hci0']), {}, 'disabled', 'Bluetooth is switched off by [ble] enabled.'],
    ['switched off for this process', {}, machine(['hci0']), { POSTERN_BLE: '0' }, 'disabled', 'Bluetooth is switched off by POSTERN_BLE=0.'],
  ] as const)('%s no process is started, and the reason is told', async (_name, config, look, env, state, reason) => {
    const { service, processes, dialers } = await started(config, look, env)
    expect(service.status()).toEqual({ state, reason, mode: 'active', searching: false, advertising: false, scanning: false, inRange: 0, friendsInRange: 0, links: [] })
    expect(service.nearby()).toEqual({ state, reason, devices: [], others: 0 })
    expect(processes.started).toEqual([])
    expect(dialers).toEqual([])
    expect(Object.values(service.counters()).every((count) => count === 0)).toBe(true)
  })
})

describe('where there is', () => {
  it('one process is started, with the adapter that is named', async () => {
    const { service, processes, dialers } = await started({ adapter: 'hci1' }, machine(['hci0', 'hci1']))
    await service.start()
    expect(processes.started).toEqual([{ name: 'bluez', adapter: 'hci1' }])
    expect(dialers).toHaveLength(1)
  })

  it('a backend that is named is taken, also where nothing is found', async () => {
    const { processes } = await started({ backend: 'virtual', socket: '/air' }, machine(undefined))
    expect(processes.started).toEqual([{ name: 'virtual', socket: '/air' }])
    await scene!.close()
    const other = await started({ enabled: 'on' }, machine([]))
    expect(other.processes.started).toMatchObject([{ name: 'hci' }])
  })

  it('how much the radio is used can be changed while it runs, and is told', async () => {
    const { service, processes, logged } = await started({ mode: 'background' }, machine(['hci0']))
    processes.say({ kind: 'adapter', state: 'on', detail: '' })
    await until(() => service.status().state === 'on')
    expect(service.power(undefined)).toMatchObject({ mode: 'background', configured: 'background', control: 'partly', modes: [{ mode: 'active' }, { mode: 'background' }, { mode: 'saver' }] })
    expect(service.power('saver')).toMatchObject({ mode: 'saver', configured: 'background', searching: true })
    expect(service.status().mode).toBe('saver')
    expect(service.summary).toMatchObject({ state: 'on', mode: 'saver', friendsInRange: 0, links: 0 })
    expect(logged.some((line) => line.includes('"to":"saver"'))).toBe(true)
  })

  it('what happens is told to who subscribed, by its key', async () => {
    const { service, processes, changes } = await started({}, machine(['hci0']))
    service.watch.watch(true)
    expect(service.watch.keys()).toEqual(['adapter', 'window'])
    processes.say({ kind: 'adapter', state: 'on', detail: '' })
    processes.say({ kind: 'seen', address: 'c0:ff:ee:00:12:34', rssi: -57, hint: scene!.friendsHint })
    await until(() => changes.length >= 2)
    expect(changes).toEqual(['adapter', 'device ble:c0:ff:ee:00:12:34'])
    await until(() => service.watch.keys().length === 3)
    expect(service.watch.describe('device ble:c0:ff:ee:00:12:34')).toMatchObject({ name: 'event.ble.device', params: { name: 'ana', rssi: -57, inRange: true } })
  })

  it('what the adapter says is the state, as a sentence; the log has each change', async () => {
    const { service, processes, logged } = await started({}, machine(['hci0']))
    const expected = [
      ['on', '', 'Bluetooth works.'], ['off', 'hci0 is down', 'The Bluetooth adapter is switched off: hci0 is down.'], ['blocked', '', 'Bluetooth is blocked by rfkill (aeroplane mode, or a switch).'],
      ['no_permission', 'EPERM.', 'This user may not use the Bluetooth adapter: EPERM.'], ['busy', 'hci0 is up: `x`', 'Another program has the Bluetooth adapter: hci0 is up: `x`.'],
    ] as const
    for (const [state, detail, sentence] of expected) {
      processes.say({ kind: 'adapter', state, detail })
      await until(() => service.state === state && logged.some((line) => line.includes(`"${state}"`)))
      expect(service.reason).toBe(sentence)
    }
    processes.exit('ended with code 1')
    expect(service.state).toBe('resetting')
    expect(service.reason).toBe('The Bluetooth adapter is being started again: the process of the backend bluez ended with code 1.')
  })

  it('friends in range are told to the core and listed by name; strangers only where that is wished', async () => {
    const { service, processes, around } = await started({}, machine(['hci0']))
    const hint = scene!.friendsHint
    processes.say({ kind: 'adapter', state: 'on', detail: '' })
    processes.say({ kind: 'seen', address: 'c0:ff:ee:00:12:34', rssi: -57, hint })
    processes.say({ kind: 'seen', address: 'c0:ff:ee:00:12:99', rssi: -30, hint: undefined })
    await until(() => around.length === 1)
    expect(around).toEqual([Buffer.from(encodeBleAddress('public', Uint8Array.of(0xc0, 0xff, 0xee, 0, 0x12, 0x34))).toString('hex')])
    expect(service.nearby().devices).toMatchObject([{ address: 'ble:c0:ff:ee:00:12:34', rssi: -57, peer: 'id of ana', name: 'ana', peerState: 'unreachable' }])
    expect(service.status()).toMatchObject({ inRange: 2, friendsInRange: 1, backend: 'bluez' })
    // The friend has another key.
    scene!.friendsHint = Uint8Array.of(0)
    service.presenceChanged()
    await until(() => around.length === 2)
    expect(around[1]).toBeUndefined()
    await scene!.close()
    const open = await started({ strangers: true }, machine(['hci0']))
    open.processes.say({ kind: 'adapter', state: 'on', detail: '' })
    open.processes.say({ kind: 'seen', address: 'c0:ff:ee:00:12:99', rssi: -30, hint: undefined })
    await until(() => open.service.nearby().devices.length === 1)
    expect(open.service.nearby().devices[0]!.peer).toBeUndefined()
  })
})

describe('where bluetoothd has no adapter, although the kernel has', () => {
  const missing = { kind: 'adapter', state: 'absent', detail: 'bluetoothd does not answer' } as const

  it('the adapter is driven alone, once bluetoothd had its time and where this process may', async () => {
    const { service, processes } = await started({}, machine(['hci0'], true, 'linux', 'CapEff:\t0000000000001000\n'), {}, '/addon.node')
    processes.say(missing)
    await until(() => service.state === 'absent')
    expect(service.reason).toBe('There is no Bluetooth adapter that works: bluetoothd does not answer.')
    service.keep(0)
    service.keep(30_000)
    expect(service.status().backend).toBe('bluez')
    service.keep(60_000)
    processes.exit('ended')
    expect(processes.started).toEqual([{ name: 'bluez' }, { name: 'hci', addon: '/addon.node' }])
    processes.say({ kind: 'adapter', state: 'on', detail: '' })
    await until(() => service.state === 'on')
    service.keep(10_000_000)
    expect(processes.started).toHaveLength(2)
    expect(service.status().backend).toBe('hci')
  })

  it('one sentence says why it is not, where it is not', async () => {
    for (const [mask, addon, why] of [['0000000000000000', '/addon.node', 'this process needs the capability CAP_NET_ADMIN'], ['000001ffffffffff', undefined, 'the native addon is needed, which is not built']] as const) {
      const { service, processes } = await started({}, machine(['hci0'], true, 'linux', `CapEff:\t${mask}\n`), {}, addon)
      processes.say(missing)
      await until(() => service.state === 'absent')
      expect(service.reason).toBe(`There is no Bluetooth adapter that works: bluetoothd does not answer, and to drive the adapter without bluetoothd ${why}.`)
      for (let now = 0; now < 3_600_000; now += 30_000) service.keep(now)
      expect(processes.started).toHaveLength(1)
      await scene!.close()
    }
  })

  it('a backend that is named stays', async () => {
    const { service, processes } = await started({ backend: 'bluez' }, machine(['hci0'], true, 'linux', 'CapEff:\t0000000000001000\n'), {}, '/addon.node')
    processes.say(missing)
    await until(() => service.state === 'absent')
    for (let now = 0; now < 3_600_000; now += 30_000) service.keep(now)
    expect(processes.started).toHaveLength(1)
    expect(service.reason).not.toContain('CAP_NET_ADMIN')
  })
})
