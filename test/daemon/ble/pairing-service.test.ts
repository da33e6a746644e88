import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { LinkId, PeerHandle } from '../../../src/core/endpoint/contract.ts'
import type { NodeRuntime } from '../../../src/daemon/node-runtime.ts'
import { PairingService, type RadioDevice, type Surroundings } from '../../../src/daemon/ble/pairing-service.ts'
import { bleAddressOf } from '../../../src/net/ble/addresses.ts'
import { until } from '../../net/udp-support.ts'

const ana = 3 as PeerHandle
const middle = Uint8Array.of(5, 5, 5, 5, 5, 5)
const lower = Uint8Array.of(1, 5, 5, 5, 5, 5)
const higher = Uint8Array.of(9, 5, 5, 5, 5, 5)

class Scene implements Surroundings {
  state: Surroundings['state'] = 'on'
  reason = 'Bluetooth works.'
  searches = 0
  open = false
  around: RadioDevice[] = []
  readonly dialed: string[] = []
  readonly answers: string[] = []
  readonly id: string = `${'a'.repeat(51)}q`
  readonly service: PairingService

  constructor() {
    const radio = {
      hint: () => middle, openPairing: () => { this.open = true }, closePairing: () => { this.open = false }, pairingOpen: () => this.open,
      dialStranger: (_now: unknown, address: Uint8Array) => this.dialed.push(Buffer.from(address.subarray(10, 16)).toString('hex')),
      acceptPairing: () => this.answers.push('yes') > 0, rejectPairing: () => this.answers.push('no') > 0,
    }
    const endpoint = { radio, peerId: () => this.id, findPeer: () => ana }
    this.service = new PairingService({ endpoint, now: () => ({ mono: 0, wall: 0 }), schedule: () => undefined } as unknown as NodeRuntime, this, () => Promise.resolve())
  }

  search(): void {
    this.searches++
  }

  devices(): readonly RadioDevice[] {
    return this.around
  }
}

function device(last: number, hint: Uint8Array | undefined, more: Partial<RadioDevice> = {}): RadioDevice {
  return { address: `c0:00:00:00:00:0${last}`, peer: undefined, hint, age: 0, ...more }
}

const scenes: Scene[] = []
afterEach(() => {
  for (const { service } of scenes.splice(0)) service.close()
})

function scene(): Scene {
  const made = new Scene()
  scenes.push(made)
  return made
}

describe('whom a machine that pairs dials', () => {
  it('a stranger with a higher hint, or none, once; the one with a lower hint dials itself; no friend, nobody who has gone', async () => {
    const s = scene()
    s.around = [device(1, lower), device(2, higher, { peer: ana }), device(3, higher, { age: 60e6 }), device(4, higher), device(5, undefined)]
    s.service.start({ timeoutS: 60 })
    await until(() => s.dialed.length === 2)
    await sleep(1200)
    expect(s.dialed).toEqual(['c00000000004', 'c00000000005'])
    expect(s.searches).toBeGreaterThan(1)
    expect(s.service.status()).toMatchObject({ open: true, inRange: 3, exchanges: [] })
  })

  it('nobody while two people begin to compare, and again when that came to nothing', async () => {
    const s = scene()
    s.service.start({ timeoutS: 60 })
    s.service.onEvent({ kind: 'pairing', peer: ana, code: '12345678' })
    s.around = [device(4, higher)]
    await sleep(1200)
    expect(s.dialed).toEqual([])
    s.service.onEvent({ kind: 'pairing-ended', peer: ana })
    await until(() => s.dialed.length === 1)
  })

  it('others than the one that is compared, once that takes long: it may be a stranger; and nobody any more after a yes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      const s = scene()
      s.service.start({ timeoutS: 60 })
      s.service.onEvent({ kind: 'link-peer', link: 1 as LinkId, address: bleAddressOf('c0:00:00:00:00:04'), peer: ana })
      s.service.onEvent({ kind: 'pairing', peer: ana, code: '12345678' })
      s.around = [device(4, higher), device(5, higher)]
      vi.advanceTimersByTime(9500)
      expect(s.dialed).toEqual([])
      // A new one every moment does not keep us from looking.
      s.service.onEvent({ kind: 'pairing', peer: 9 as PeerHandle, code: '00000000' })
      vi.advanceTimersByTime(1500)
      expect(s.dialed).toEqual(['c00000000005'])
      await s.service.answer({ id: s.id, same: true })
      vi.advanceTimersByTime(30_000)
      expect(s.dialed).toEqual(['c00000000005'])
    } finally {
      vi.useRealTimers()
    }
  })

  it('exchanges that are over make room for others, and those that go on stay', () => {
    const s = scene()
    s.service.start({ timeoutS: 60 })
    s.service.onEvent({ kind: 'pairing', peer: ana, code: '12345678' })
    for (let peer = 10; peer < 70; peer++) {
      s.service.onEvent({ kind: 'pairing', peer: peer as PeerHandle, code: '00000000' })
      s.service.onEvent({ kind: 'pairing-ended', peer: peer as PeerHandle })
    }
    expect(s.service.status().exchanges[0]).toMatchObject({ code: '12345678', state: 'comparing' })
    expect(s.service.status().exchanges).toHaveLength(8)
  })

  it('nobody without Bluetooth, and nobody after stop', async () => {
    const s = scene()
    s.state = 'absent'
    s.reason = 'There is none.'
    expect(() => s.service.start({ timeoutS: 60 })).toThrow('Pairing needs Bluetooth. There is none.')
    s.state = 'on'
    s.service.start({ timeoutS: 60 })
    s.service.stop()
    s.around = [device(4, higher)]
    await sleep(1200)
    expect(s.dialed).toEqual([])
    expect(s.service.status()).toMatchObject({ open: false, leftMs: 0 })
  })
})

it('each side says what it saw, and hears what came of it', async () => {
  const s = scene()
  s.service.start({ timeoutS: 60 })
  await expect(s.service.answer({ id: s.id, same: true })).rejects.toMatchObject({ code: 'unknown_peer' })
  s.service.onEvent({ kind: 'pairing', peer: ana, code: '123456' })
  expect(s.service.status().exchanges).toEqual([{ peer: s.id, code: '123456', state: 'comparing' }])
  await s.service.answer({ id: s.id, same: true })
  expect(s.service.status().exchanges[0]!.state).toBe('accepted')
  s.service.onEvent({ kind: 'paired', peer: ana })
  expect(s.service.status().exchanges[0]!.state).toBe('paired')
  await s.service.answer({ id: s.id, same: false })
  expect(s.answers).toEqual(['yes', 'yes', 'no'])
  for (let peer = 10; peer < 40; peer++) s.service.onEvent({ kind: 'pairing', peer: peer as PeerHandle, code: '000000' })
  expect(s.service.status().exchanges).toHaveLength(8)
})
