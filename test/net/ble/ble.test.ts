import { afterEach, describe, expect, test } from 'vitest'
import type { LinkId, PeerHandle } from '../../../src/core/endpoint/contract.ts'
import { bleLinkLimits } from '../../../src/core/ble/limits.ts'
import { decodeBleValue, encodeBye, encodeHello } from '../../../src/core/ble/values.ts'
import { millisecond } from '../../../src/core/base/time.ts'
import { bleAddressOf } from '../../../src/net/ble/addresses.ts'
import type { BleOptions } from '../../../src/net/ble/ble-contract.ts'
import { TestAir } from '../../support/test-air.ts'
import { turn, until } from '../udp-support.ts'
import { linked, nodeOn, type BleNode } from './ble-support.ts'

const FIRST = 1 as LinkId
const NONCE = new Uint8Array(8).fill(0x4e)
const peer = 5 as PeerHandle
const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)

const nodes: BleNode[] = []
afterEach(async () => {
  for (const { driver } of nodes.splice(0)) await driver.close()
})

async function node(air: TestAir, n: number, options: Partial<BleOptions> = {}): Promise<BleNode> {
  const opened = await nodeOn(air, n, options)
  nodes.push(opened)
  return opened
}

async function two(options: Partial<BleOptions> = {}): Promise<readonly [BleNode, BleNode]> {
  const air = new TestAir()
  return [await node(air, 1, options), await node(air, 2, options)]
}

/** Times that a test can wait for. */
const soon: Partial<BleOptions> = {
  linkLimits: { hello: 60 * millisecond, confirm: 120 * millisecond, credit: 80 * millisecond, linger: 30 * millisecond },
  radioLimits: { backoffMin: 30 * millisecond },
}

describe('finding', () => {
  test('a friend in range is told with where it is, and no longer when it left', async () => {
    const air = new TestAir()
    const options: Partial<BleOptions> = { radioLimits: { sightingAge: 200 * millisecond } }
    const [a, b] = [await node(air, 1, options), await node(air, 2, options)]
    a.driver.setFriends((heard) => heard.join() === hint.join() ? peer : undefined)
    b.driver.setHint(hint)
    await until(() => a.host.around.length === 1)
    expect(a.host.around).toEqual([{ peer, address: Buffer.from(bleAddressOf(b.radio.address)).toString('hex') }])
    expect(a.driver.nearby()).toMatchObject([{ address: b.radio.address, peer, rssi: -60 }])
    await until(() => b.driver.nearby().length === 1)
    expect(b.driver.nearby()).toMatchObject([{ address: a.radio.address, peer: undefined }])
    air.inRange = () => false
    await until(() => a.host.around.length === 2)
    expect(a.host.around[1]).toEqual({ peer, address: undefined })
    expect(a.driver.nearby()).toEqual([])
  })

  test('a link whose number another one has is not taken: that one would never end', async () => {
    const [a, b] = await two()
    await linked(a, b)
    const [number] = b.radio.links.keys()
    b.radio.say({ kind: 'opened', link: number!, role: 'peripheral', address: '00:00:00:00:00:07', mtu: 185 })
    await until(() => b.driver.stats()['ble_refused'] === 1)
    b.radio.say({ kind: 'closed', link: number!, reason: 'gone' })
    await until(() => b.driver.links().length === 0)
    expect(b.host.opens).toHaveLength(1)
  })

  test('only who was heard can be dialed; each dial has one answer', async () => {
    const [a, b] = await two()
    expect(a.driver.dial(bleAddressOf('00:00:00:00:00:99'), 1)).toBe('closed')
    await until(() => a.driver.nearby().length === 1)
    b.radio.air.inRange = () => false
    expect(a.driver.dial(bleAddressOf(b.radio.address), 2)).toBe('dialing')
    await until(() => a.host.dialFailures.length === 1)
    expect(a.host.dialFailures[0]).toMatchObject({ token: 2, cause: { code: 'unreachable' } })
    // It rests now.
    expect(a.driver.dial(bleAddressOf(b.radio.address), 3)).toBe('dialing')
    await until(() => a.host.dialFailures.length === 2)
    expect(a.host.dialFailures[1]!.cause.message).toContain('rests')
  })

  test('a dial that was called off answers once, and opens nothing', async () => {
    const [a, b] = await two()
    await until(() => a.driver.nearby().length === 1)
    a.driver.dial(bleAddressOf(b.radio.address), 4)
    a.driver.cancelDial(4)
    await until(() => a.host.dialFailures.length === 1)
    expect(a.host.dialFailures[0]).toMatchObject({ token: 4, cause: { code: 'aborted' } })
    await until(() => a.radio.links.size === 0 && b.radio.links.size === 0)
    expect(a.host.opens).toEqual([])
  })
})

describe('links', () => {
  test('carry what the contract says, and know which side dialed', async () => {
    const [a, b] = await two()
    await linked(a, b)
    expect(a.host.tokens).toEqual([7])
    expect(a.host.opens[0]).toMatchObject({ kind: 'ble', dialed: true, datagramMax: 1200, datagramSize: 360, single: true, segmentsMax: 1, remote: bleAddressOf(b.radio.address) })
    expect(b.host.tokens).toEqual([undefined])
    expect(b.host.opens[0]).toMatchObject({ dialed: false, remote: bleAddressOf(a.radio.address) })
    expect(a.driver.stats()).toMatchObject({ ble_dials: 1, ble_opened: 1, ble_confirmed: 1 })
  })

  test('closing delivers what waits, says BYE, and the other side hears that it was wanted', async () => {
    const [a, b] = await two()
    await linked(a, b)
    const party = a.party(FIRST)
    party.batch.count = 1
    party.batch.link[0] = FIRST
    party.batch.offset[0] = party.slab
    party.batch.length[0] = 900
    party.batch.segmentSize[0] = 900
    party.driver.send(party.batch, () => undefined)
    a.driver.closeLink(FIRST)
    await until(() => a.host.ends(1).length === 1 && b.host.ends(1).length === 1)
    expect(b.host.count).toBe(1)
    expect([a.host.ends(1), b.host.ends(1)]).toEqual([['closed'], ['closed']])
    expect(a.host.cause(1)).toBeUndefined()
    expect(b.host.cause(1)).toMatchObject({ code: 'disconnected' })
    await until(() => a.radio.links.size === 0)
  })

  test('after each datagram the link says when it takes the next, though it was never blocked', async () => {
    const [a, b] = await two()
    await linked(a, b)
    const party = a.party(FIRST)
    for (let n = 1; n <= 3; n++) {
      party.batch.reset(party.slab, 1000)
      party.batch.count = 1
      party.batch.link[0] = FIRST
      party.batch.offset[0] = party.slab
      party.batch.length[0] = 100
      party.batch.segmentSize[0] = 100
      party.driver.send(party.batch, () => undefined)
      await until(() => a.host.changes.filter(({ state }) => state === 'writable').length === n)
    }
    expect(a.host.changes.map(({ state }) => state)).toEqual(['writable', 'writable', 'writable'])
  })
})

describe('strangers', () => {
  test('who says nothing is gone after the time for HELLO; who has no session after that for it', async () => {
    const air = new TestAir()
    const b = await node(air, 2, soon)
    b.radio.knock('silent')
    await until(() => b.driver.stats()['ble_end_hello_timeout'] === 1)
    const polite = b.radio.knock('polite')
    b.radio.say({ kind: 'received', link: polite, value: encodeHello(1200, 16, NONCE) })
    await until(() => b.host.opens.length === 1)
    await until(() => b.host.ends(1).length === 1)
    expect(b.host.changes.at(-1)).toMatchObject({ state: 'failed', cause: { code: 'timeout' } })
    await until(() => b.radio.commands.filter(({ kind }) => kind === 'disconnect').length === 2)
  })

  test('a flood of strangers that do nothing leaves links for who comes after them', async () => {
    const air = new TestAir()
    const b = await node(air, 2, soon)
    for (let n = 0; n < 50; n++) b.radio.knock(`stranger ${n}`)
    await until(() => b.driver.stats()['ble_refused']! >= 46)
    const a = await node(air, 1, soon)
    await until(() => b.driver.stats()['ble_end_hello_timeout'] === 4)
    await linked(a, b)
    expect(b.driver.links()).toHaveLength(1)
  })

  test('values that are none end the link with a BYE, and its neighbours go on', async () => {
    const [a, b] = await two()
    await linked(a, b)
    const number = b.radio.knock('liar')
    b.radio.say({ kind: 'received', link: number, value: encodeHello(1200, 16, NONCE) })
    b.radio.say({ kind: 'received', link: number, value: Uint8Array.of(0xff) })
    await until(() => b.driver.stats()['ble_end_malformed'] === 1)
    const said = b.radio.commands.filter((command) => command.kind === 'send' && command.link === number)
    expect(said.map((command) => command.kind === 'send' && decodeBleValue(command.value).kind).at(-1)).toBe('bye')
    expect(b.driver.links()).toHaveLength(1)
  })

  test('disconnects at any moment leave nothing behind', async () => {
    const air = new TestAir()
    const b = await node(air, 2, soon)
    for (let step = 0; step < 4; step++) {
      const number = b.radio.knock(`flapper ${step}`)
      if (step > 0) b.radio.say({ kind: 'received', link: number, value: encodeHello(1200, 16, NONCE) })
      if (step > 1) b.radio.say({ kind: 'received', link: number, value: Uint8Array.of(0x40, 200, 0, 1, 2, 3) })
      if (step > 2) b.radio.say({ kind: 'received', link: number, value: encodeBye('done') })
      b.radio.say({ kind: 'closed', link: number, reason: 'gone' })
      for (let n = 0; n < 10; n++) await turn()
    }
    expect(b.driver.links()).toEqual([])
    expect(b.driver.stats()).toMatchObject({ ble_end_lost: 3, ble_end_bye: 1 })
    expect(b.host.changes.length).toBe(b.host.opens.length)
  })
})

describe('the adapter', () => {
  test('going, it takes links and dials with it, and says why; back, everything works again', async () => {
    const [a, b] = await two()
    await linked(a, b)
    a.radio.setState('blocked', 'rfkill blocks Bluetooth')
    await until(() => a.host.ends(1).length === 1 && b.host.ends(1).length === 1)
    expect(a.host.health.at(-1)).toEqual({ state: 'blocked', detail: 'rfkill blocks Bluetooth' })
    expect(a.driver.adapter).toEqual({ state: 'blocked', detail: 'rfkill blocks Bluetooth' })
    expect(a.driver.nearby()).toEqual([])
    expect(a.driver.dial(bleAddressOf(b.radio.address), 9)).toBe('closed')
    a.radio.setState('on', '')
    await linked(a, b)
    expect(a.driver.links()).toHaveLength(1)
    expect(bleLinkLimits.unsentMax).toBe(2)
  })
})
