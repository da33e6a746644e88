import { beforeEach, describe, expect, it } from 'vitest'
import { SERVICE_UUID } from '../../../../src/net/ble/backend.ts'
import { loadCorePackages } from '../../../../src/net/ble/corebluetooth/packages.ts'
import { Mac, RX, SERVICE, TX } from './mac.ts'

const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7)
let mac: Mac
beforeEach(async () => {
  mac = new Mac()
  mac.power('poweredOn')
  await mac.told()
})

function dialed(id = 'd1'): void {
  mac.binding.discovers(id)
  mac.backend.command({ kind: 'connect', address: id, timeoutMs: 8000 })
}

describe('the adapter', () => {
  it('is what CoreBluetooth says, and not known before', async () => {
    const other = new Mac()
    for (const state of ['poweredOff', 'unauthorized', 'unsupported', 'resetting', 'poweredOn']) other.power(state)
    expect((await other.told()).map((event) => event.kind === 'adapter' && event.state)).toEqual(['resetting', 'off', 'no_permission', 'absent', 'resetting', 'on'])
  })

  it('advertises the service and nothing else, listens for it, and does both again after it was off', async () => {
    mac.backend.command({ kind: 'advertise', on: true, hint: bytes(6), pace: 'slow' })
    mac.backend.command({ kind: 'advertise', on: true, hint: bytes(6), pace: 'fast' })
    mac.backend.command({ kind: 'scan', on: true, pace: 'slow' })
    const advertise = `advertise '' ${SERVICE_UUID}`
    expect(mac.bleno.calls).toEqual(['services', advertise])
    mac.power('poweredOff')
    mac.power('poweredOn')
    await mac.told()
    expect(mac.bleno.calls).toEqual(['services', advertise, 'services', advertise])
    expect(mac.binding.calls.filter((call) => call.startsWith('scan'))).toEqual([`scan ${SERVICE} true`, `scan ${SERVICE} true`])
    await mac.backend.close()
    expect(mac.binding.calls.at(-1)).toBe('stop scan')
  })

  it('that goes takes links and dials along', async () => {
    dialed()
    mac.bleno.subscribe(20)
    mac.binding.answersConnect = false
    dialed('d2')
    await mac.told()
    mac.power('poweredOff')
    const reason = 'the adapter has gone'
    expect((await mac.told()).filter(({ kind }) => kind !== 'adapter')).toEqual([{ kind: 'closed', link: 2, reason }, { kind: 'connectFailed', address: 'd2', reason }, { kind: 'closed', link: 1, reason }])
    mac.backend.command({ kind: 'connect', address: 'd1', timeoutMs: 8000 })
    expect(await mac.told()).toEqual([{ kind: 'connectFailed', address: 'd1', reason: 'the adapter does not work' }])
  })
})

describe('who is heard', () => {
  it('is told with a hint, where there is one of ours', async () => {
    const hints = [Buffer.from('ffff010203040506', 'hex'), Buffer.from('4c00010203040506', 'hex'), Buffer.from('ffff0102', 'hex'), undefined]
    for (const [at, data] of hints.entries()) mac.binding.discovers(`d${at}`, data)
    expect((await mac.told()).map((event) => event.kind === 'seen' && [event.address, event.rssi, event.hint?.join()])).toEqual([['d0', -60, '1,2,3,4,5,6'], ['d1', -60, undefined], ['d2', -60, undefined], ['d3', -60, undefined]])
  })

  it('is forgotten again, here and by noble', () => {
    for (let n = 0; n < 5000; n++) mac.binding.discovers(`d${n}`)
    expect(Object.keys(mac.noble._peripherals)).toHaveLength(1024)
    expect(Object.keys(mac.noble._services)).toHaveLength(1024)
  })
})

describe('a link that this Mac dials', () => {
  it('is open when TX is subscribed; values go out one by one, each with its answer', async () => {
    dialed()
    expect((await mac.told()).at(-1)).toEqual({ kind: 'opened', link: 1, role: 'central', address: 'd1', mtu: 23 })
    for (let n = 0; n < 3; n++) mac.backend.command({ kind: 'send', link: 1, value: bytes(20) })
    expect(mac.binding.written).toHaveLength(1)
    for (let n = 1; n <= 3; n++) {
      mac.binding.emit('write', 'd1', SERVICE, RX)
      expect(await mac.told()).toEqual([{ kind: 'sent', link: 1, count: 1 }])
      expect(mac.binding.written).toHaveLength(Math.min(3, n + 1))
    }
  })

  it('has the MTU that a value of the other shows', async () => {
    dialed()
    await mac.told()
    mac.binding.emit('read', 'd1', SERVICE, TX, Buffer.from(bytes(182)), true)
    expect(await mac.told()).toEqual([{ kind: 'mtu', link: 1, mtu: 185 }, { kind: 'received', link: 1, value: bytes(182) }])
    mac.binding.emit('read', 'd1', SERVICE, TX, Buffer.from(bytes(10)), true)
    expect(await mac.told()).toEqual([{ kind: 'received', link: 1, value: bytes(10) }])
  })

  it('ends with the device, by command, by a value too many, and when a write is not answered', async () => {
    const ends: (readonly [string, () => void])[] = [
      ['closed by the other, or out of range', () => mac.binding.emit('disconnect', 'd1')],
      ['closed here', () => mac.backend.command({ kind: 'disconnect', link: 2 })],
      ['overrun', () => { for (let n = 0; n < 5; n++) mac.backend.command({ kind: 'send', link: 3, value: bytes(20) }) }],
      ['a write was not answered', () => { mac.backend.command({ kind: 'send', link: 4, value: bytes(20) }); mac.time.pass(30_000) }],
    ]
    for (const [at, [reason, end]] of ends.entries()) {
      dialed()
      await mac.told()
      end()
      expect((await mac.told()).filter(({ kind }) => kind === 'closed')).toEqual([{ kind: 'closed', link: at + 1, reason }])
      mac.binding.emit('disconnect', 'd1')
    }
    expect(await mac.told()).toEqual([])
  })

  it('fails for what is in its way, and can be dialed again', async () => {
    mac.backend.command({ kind: 'connect', address: 'nobody', timeoutMs: 8000 })
    mac.binding.answersConnect = false
    dialed()
    mac.backend.command({ kind: 'connect', address: 'd1', timeoutMs: 8000 })
    mac.time.pass(8000)
    mac.binding.answersConnect = true
    mac.binding.services = []
    const failed = (await mac.told()).flatMap((event) => event.kind === 'connectFailed' ? `${event.address}: ${event.reason}` : [])
    expect(failed).toEqual(['nobody: not heard', 'd1: already connected or being dialed', 'd1: timed out'])
    expect(mac.binding.calls.at(-1)).toBe('disconnect d1')
    dialed()
    expect((await mac.told()).at(-1)).toEqual({ kind: 'connectFailed', address: 'd1', reason: 'the other has no service of ours' })
    mac.binding.services = [SERVICE]
    dialed()
    expect((await mac.told()).at(-1)).toMatchObject({ kind: 'opened', address: 'd1' })
  })

  it('waits with others, but not with more than eight', async () => {
    mac.binding.answersConnect = false
    for (let n = 0; n < 9; n++) dialed(`d${n}`)
    expect((await mac.told()).filter(({ kind }) => kind === 'connectFailed')).toEqual([{ kind: 'connectFailed', address: 'd8', reason: 'too many dials' }])
  })
})

describe('a link of somebody who dials this Mac', () => {
  it('is open with the subscription, takes writes, and gives values out at a pace', async () => {
    expect(mac.bleno.write(bytes(3))).not.toBe(0)
    mac.bleno.subscribe(182)
    expect(mac.bleno.write(bytes(3))).toBe(0)
    expect(await mac.told()).toEqual([{ kind: 'opened', link: 1, role: 'peripheral', address: 'central-1', mtu: 185 }, { kind: 'received', link: 1, value: bytes(3) }])
    for (let n = 0; n < 2; n++) mac.backend.command({ kind: 'send', link: 1, value: bytes(182) })
    expect(mac.bleno.notified).toHaveLength(2)
    mac.time.pass(15)
    expect(await mac.told()).toEqual([{ kind: 'sent', link: 1, count: 1 }])
    mac.time.pass(15)
    expect(await mac.told()).toEqual([{ kind: 'sent', link: 1, count: 1 }])
  })

  it('is the only one, and ends with any that leaves', async () => {
    mac.bleno.subscribe(20)
    mac.bleno.subscribe(20)
    expect(await mac.told()).toHaveLength(1)
    mac.bleno.unsubscribe()
    mac.bleno.unsubscribe()
    expect(await mac.told()).toEqual([{ kind: 'closed', link: 1, reason: 'closed by the other' }])
    mac.bleno.subscribe(20)
    mac.backend.command({ kind: 'disconnect', link: 2 })
    expect((await mac.told()).at(-1)).toEqual({ kind: 'closed', link: 2, reason: 'closed here' })
    expect(mac.bleno.write(bytes(3))).not.toBe(0)
  })
})

it('the packages are looked for on a Mac only, and what is missing is said with its remedy', () => {
  const fails = (message: string) => (): unknown => {
    throw new Error(message)
  }
  expect(() => loadCorePackages('linux')).toThrow('is for macOS')
  expect(() => loadCorePackages('darwin', fails("Cannot find module '@abandonware/noble'\nRequire stack"))).toThrow('is not installed')
  expect(() => loadCorePackages('darwin', fails('No native build was found for platform=darwin'))).toThrow(/cannot be loaded \(No native build.*npx node-gyp rebuild/)
  expect(() => loadCorePackages('darwin', () => ({}))).toThrow('is not the version')
})
