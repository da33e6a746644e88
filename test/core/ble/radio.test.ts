import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PeerHandle } from '../../../src/core/base/domain.ts'
import { after, second, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { powerModes } from '../../../src/core/base/power-mode.ts'
import { dutyOf, scanWindow, SEARCH_TIME } from '../../../src/core/ble/duty.ts'
import { bleRadioLimits } from '../../../src/core/ble/limits.ts'
import { Radio, type RadioCommand, type RadioEvent } from '../../../src/core/ble/radio.ts'
import type { FindFriend } from '../../../src/core/ble/sightings.ts'

const start: Instant = toInstant(5_000_000)
const ana = 7 as PeerHandle
const bob = 9 as PeerHandle
const anaHint = Uint8Array.of(1, 2, 3, 4, 5, 6)
const bobHint = Uint8Array.of(6, 5, 4, 3, 2, 1)
const friends = finding([[anaHint, ana], [bobHint, bob]])

function finding(known: readonly (readonly [Uint8Array, PeerHandle])[]): FindFriend {
  const table = new Map(known.map(([hint, peer]) => [hint.join(), peer]))
  return (hint) => table.get(hint.join())
}

function at(seconds: number): Instant {
  return after(start, seconds * second)
}

function switchedOn(mode: 'active' | 'background' | 'saver' = 'active'): Radio {
  const radio = new Radio(mode, bleRadioLimits, () => 0.5)
  radio.setFriends(start, friends)
  radio.handleAdapter(start, true)
  commands(radio, start)
  return radio
}

function commands(radio: Radio, now: Instant): RadioCommand[] {
  const list: RadioCommand[] = []
  for (let command = radio.pollCommand(now); command !== undefined; command = radio.pollCommand(now)) list.push(command)
  return list
}

function events(radio: Radio): RadioEvent[] {
  const list: RadioEvent[] = []
  for (let event = radio.pollEvent(); event !== undefined; event = radio.pollEvent()) list.push(event)
  return list
}

describe('who is in range', () => {
  test('100,000 rotating addresses leave the table as large as before, and the friend in it', () => {
    const radio = switchedOn()
    radio.handleSeen(start, 'ana', -60, anaHint)
    let now = start
    for (let n = 0; n < 100_000; n++) {
      now = after(now, 500)
      radio.handleSeen(now, `stranger ${n}`, -80, n % 3 === 0 ? Uint8Array.of(n, n >> 8, n >> 16, 0, 0, 9) : undefined)
      expect(radio.sightings.size).toBeLessThanOrEqual(bleRadioLimits.sightingsMax)
    }
    expect(radio.sightings.get('ana')?.peer).toBe(ana)
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: 'ana' }])
    radio.handleTimeout(after(now, bleRadioLimits.sightingAge))
    expect(radio.sightings.size).toBe(0)
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: undefined }])
  })

  test('a table full of friends takes no stranger, and repeats nobody', () => {
    const radio = switchedOn()
    const many = finding(Array.from({ length: 300 }, (_, n) => [Uint8Array.of(n, n >> 8, 0, 0, 0, 0), n as PeerHandle] as const))
    radio.setFriends(start, many)
    for (let n = 0; n < 300; n++) radio.handleSeen(start, `friend ${n}`, -50, Uint8Array.of(n, n >> 8, 0, 0, 0, 0))
    radio.handleSeen(start, 'stranger', -20, undefined)
    expect(radio.sightings.size).toBe(bleRadioLimits.sightingsMax)
    expect(radio.sightings.get('stranger')).toBeUndefined()
  })

  test('any advertisements at any time: bounds hold, and what is said of a friend is what is known', () => {
    const seen = fc.record({ wait: fc.nat(60), address: fc.nat(400), rssi: fc.integer({ min: -127, max: 20 }), hint: fc.constantFrom(undefined, anaHint, bobHint, Uint8Array.of(9, 9, 9, 9, 9, 9)), failed: fc.boolean() })
    fc.assert(fc.property(fc.array(seen, { maxLength: 300 }), (advertisements) => {
      const radio = switchedOn()
      const told = new Map<PeerHandle, string>()
      let now = start
      for (const { wait, address, rssi, hint, failed } of advertisements) {
        now = after(now, wait * second / 4)
        radio.handleTimeout(now)
        radio.handleSeen(now, `${address}`, rssi, hint)
        if (failed) radio.sightings.handleFailure(now, `${address}`)
        for (const event of events(radio)) {
          if (event.kind !== 'nearby') continue
          expect(event.address).not.toBe(told.get(event.peer))
          if (event.address === undefined) told.delete(event.peer)
          else told.set(event.peer, event.address)
        }
        expect([...radio.sightings].filter(({ peer }) => peer === ana).length).toBeLessThanOrEqual(4)
        expect(radio.sightings.size).toBeLessThanOrEqual(bleRadioLimits.sightingsMax)
      }
      now = after(now, bleRadioLimits.sightingAge + bleRadioLimits.backoffMax * 2)
      radio.handleTimeout(now)
      for (const event of events(radio)) if (event.kind === 'nearby') told.delete(event.peer)
      expect([...told.keys()]).toEqual([])
    }), { numRuns: 100 })
  })

  test('a friend that has another address now is dialed there, however well the old one was heard', () => {
    const radio = switchedOn()
    radio.handleSeen(start, 'old', -40, anaHint)
    radio.handleSeen(at(10), 'new', -80, anaHint)
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: 'old' }, { kind: 'nearby', peer: ana, address: 'new' }])
    // Two that are both shown are not left for one another.
    radio.handleSeen(at(11), 'new', -80, anaHint)
    radio.handleSeen(at(12), 'third', -40, anaHint)
    expect(events(radio)).toEqual([])
  })

  test.each([['active', 90], ['background', 150], ['saver', 750]] as const)('in power mode %s a friend is gone when it was not heard for %i s: who listens rarely may miss it once', (mode, seconds) => {
    const radio = switchedOn(mode)
    radio.handleSeen(start, 'ana', -60, anaHint)
    radio.handleTimeout(at(seconds - 1))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: 'ana' }])
    radio.handleTimeout(at(seconds))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: undefined }])
  })

  test('a friend that is lost is looked for hard, but not all the time', () => {
    const radio = switchedOn()
    const searches = (now: Instant): boolean => commands(radio, now).some((command) => command.kind === 'advertise' && command.pace === 'fast')
    const loseAt = (seconds: number, link: number): boolean => {
      commands(radio, at(seconds))
      radio.handleOpened(at(seconds), link, false, 'ana')
      radio.handleConfirmed(link)
      radio.handleClosed(at(seconds + 40), link, false)
      return searches(at(seconds + 40))
    }
    expect([loseAt(200, 1), loseAt(300, 2), loseAt(500, 3)]).toEqual([true, false, true])
  })

  test('who repeats a friend\'s hint does not push the friend aside: a device that failed gives way to one that did not', () => {
    const radio = switchedOn()
    radio.handleSeen(start, 'liar', -20, anaHint)
    radio.handleSeen(start, 'ana', -70, anaHint)
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: 'liar' }])
    radio.dial(start, 'liar', 1, true)
    commands(radio, start)
    radio.handleConnectFailed(at(1), 'liar', 'gone')
    expect(events(radio)).toEqual([{ kind: 'dial-failed', token: 1, reason: 'refused', detail: 'gone' }, { kind: 'nearby', peer: ana, address: 'ana' }])
  })

  test('who saves its battery listens once in five minutes, and takes nobody for gone who is heard each second time', () => {
    const radio = switchedOn('saver')
    radio.handleSeen(start, 'ana', -60, anaHint)
    radio.handleTimeout(at(600))
    radio.handleSeen(at(600), 'ana', -60, anaHint)
    radio.setMode(at(610), 'active')
    radio.handleTimeout(at(689))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: 'ana' }])
    radio.handleTimeout(at(700))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: ana, address: undefined }])
  })

  test('new hints: who was a stranger is a friend, and the other way round', () => {
    const radio = switchedOn()
    radio.handleSeen(start, 'x', -60, Uint8Array.of(0, 0, 0, 0, 0, 1))
    radio.setFriends(start, finding([[Uint8Array.of(0, 0, 0, 0, 0, 1), bob]]))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: bob, address: 'x' }])
    radio.setFriends(start, finding([]))
    expect(events(radio)).toEqual([{ kind: 'nearby', peer: bob, address: undefined }])
  })
})

describe('dials', () => {
  test('one at a time, friends first, and no more than wait', () => {
    const radio = switchedOn()
    radio.dial(start, 'stranger 1', 1, false)
    expect(commands(radio, start)).toEqual([{ kind: 'scan', on: false, pace: 'fast' }, { kind: 'connect', address: 'stranger 1', timeoutMs: 8000 }])
    for (let token = 2; token < 10; token++) expect(radio.dial(start, `stranger ${token}`, token, false)).toBe('dialing')
    expect(radio.dial(start, 'stranger 10', 10, false)).toBe('full')
    expect(radio.dial(start, 'ana', 11, true)).toBe('dialing')
    expect(events(radio)).toEqual([{ kind: 'dial-failed', token: 9, reason: 'cancelled', detail: 'a friend goes first' }])
    expect(radio.handleOpened(at(1), 100, true, 'stranger 1')).toEqual({ admit: true, evict: undefined, token: 1 })
    expect(commands(radio, at(1)).at(-1)).toEqual({ kind: 'connect', address: 'ana', timeoutMs: 8000 })
  })

  test('an address that fails rests, twice as long each time, and is forgiven after a link that held', () => {
    const radio = switchedOn()
    let now = start
    for (const rest of [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
      radio.handleSeen(now, 'ana', -60, anaHint)
      expect(radio.dial(now, 'ana', 1, true)).toBe('dialing')
      expect(commands(radio, now).at(-1)?.kind).toBe('connect')
      radio.handleConnectFailed(now, 'ana', 'no')
      radio.dial(after(now, (rest - 0.5) * second), 'ana', 2, true)
      expect(events(radio).filter((event) => event.kind === 'dial-failed').map(({ reason }) => reason)).toEqual(['refused', 'resting'])
      now = after(now, (rest + 0.5) * second)
    }
    radio.dial(now, 'ana', 3, true)
    commands(radio, now)
    radio.handleOpened(now, 5, true, 'ana')
    radio.handleConfirmed(5)
    radio.handleClosed(after(now, 40 * second), 5, false)
    radio.dial(after(now, 40 * second), 'ana', 4, true)
    expect(commands(radio, after(now, 40 * second)).at(-1)?.kind).toBe('connect')
  })

  test('a radio that does not answer is no reason to wait for ever; what comes late is not taken', () => {
    const radio = switchedOn()
    radio.dial(start, 'ana', 1, true)
    commands(radio, start)
    expect(radio.nextTimeout(start)).toBe(at(10))
    radio.handleTimeout(at(10))
    expect(events(radio)).toMatchObject([{ kind: 'dial-failed', token: 1, reason: 'timeout' }])
    expect(radio.handleOpened(at(11), 3, true, 'ana')).toEqual({ admit: false, token: undefined })
  })

  test('a link that comes late takes nothing from the dial that runs by then', () => {
    const radio = switchedOn()
    radio.dial(start, 'ana', 1, true)
    radio.dial(start, 'bob', 2, true)
    commands(radio, start)
    radio.handleTimeout(at(10))
    expect(commands(radio, at(10))).toMatchObject([{ kind: 'connect', address: 'bob' }])
    expect(radio.handleOpened(at(11), 3, true, 'ana')).toEqual({ admit: false, token: undefined })
    expect(radio.handleOpened(at(12), 4, true, 'bob')).toEqual({ admit: true, evict: undefined, token: 2 })
    expect(events(radio)).toMatchObject([{ kind: 'dial-failed', token: 1 }])
  })

  test('a dial that was called off opens no link', () => {
    const radio = switchedOn()
    radio.dial(start, 'ana', 1, true)
    radio.dial(start, 'bob', 2, true)
    commands(radio, start)
    radio.cancelDial(1)
    radio.cancelDial(2)
    expect(events(radio).map((event) => event.kind === 'dial-failed' && event.token)).toEqual([1, 2])
    expect(radio.handleOpened(at(1), 3, true, 'ana')).toEqual({ admit: false, token: undefined })
    expect(commands(radio, at(1)).map(({ kind }) => kind)).not.toContain('connect')
  })
})

describe('links', () => {
  test('six out, four in; a stranger that does nothing makes room after two seconds, who has a session does not', () => {
    const radio = switchedOn()
    for (let n = 0; n < 4; n++) expect(radio.handleOpened(at(n / 10), n, false, `in ${n}`)).toMatchObject({ admit: true })
    expect(radio.handleOpened(at(1), 4, false, 'in 4')).toMatchObject({ admit: false })
    radio.handleConfirmed(0)
    expect(radio.handleOpened(at(2.2), 5, false, 'in 5')).toMatchObject({ admit: true, evict: 1 })
    for (const link of [2, 3, 5]) radio.handleConfirmed(link)
    radio.handleClosed(at(3), 1, true)
    expect(radio.handleOpened(at(60), 6, false, 'in 6')).toMatchObject({ admit: false })
    expect(commands(radio, at(3))).toContainEqual({ kind: 'advertise', on: false, hint: undefined, pace: 'fast' })
    for (let n = 0; n < 6; n++) {
      radio.dial(at(4), `out ${n}`, n, false)
      expect(commands(radio, at(4)).at(-1)).toMatchObject({ kind: 'connect', address: `out ${n}` })
      expect(radio.handleOpened(at(4), 10 + n, true, `out ${n}`)).toMatchObject({ admit: true, token: n })
    }
    radio.dial(at(4), 'out 6', 6, false)
    expect(commands(radio, at(4)).filter(({ kind }) => kind === 'connect')).toEqual([])
    radio.handleClosed(at(5), 10, true)
    expect(commands(radio, at(5)).at(-1)).toMatchObject({ kind: 'connect', address: 'out 6' })
  })

  test('a device that comes and goes without a session is refused while it rests', () => {
    const radio = switchedOn()
    let now = start
    for (let n = 0; n < 4; n++) {
      expect(radio.handleOpened(now, n, false, 'flapper').admit).toBe(true)
      radio.handleClosed(now, n, false)
      now = after(now, second)
    }
    expect(radio.handleOpened(now, 9, false, 'flapper').admit).toBe(false)
    expect(radio.handleOpened(now, 10, false, 'other').admit).toBe(true)
    expect(radio.handleOpened(after(now, 60 * second), 11, false, 'flapper').admit).toBe(true)
  })

  test('an adapter that goes takes everything with it; when it is back, all is said anew', () => {
    const radio = switchedOn()
    radio.setHint(bobHint)
    radio.handleSeen(start, 'ana', -60, anaHint)
    radio.dial(start, 'ana', 1, true)
    radio.dial(start, 'bob', 2, true)
    commands(radio, start)
    events(radio)
    radio.handleAdapter(at(1), false)
    expect(events(radio)).toMatchObject([{ token: 2, reason: 'off' }, { token: 1, reason: 'off' }, { kind: 'nearby', peer: ana, address: undefined }])
    expect(commands(radio, at(1))).toEqual([])
    expect(radio.dial(at(1), 'ana', 3, true)).toBe('off')
    radio.handleAdapter(at(2), true)
    expect(commands(radio, at(2))).toEqual([{ kind: 'advertise', on: true, hint: bobHint, pace: 'fast' }, { kind: 'scan', on: true, pace: 'fast' }])
  })
})

describe('power', () => {
  test('windows open and close as the mode says, and the radio is told so; searching ends by itself', () => {
    for (const mode of powerModes) {
      const radio = switchedOn(mode)
      let now = start
      let heard = 0
      let on = radio.scanning
      for (const end = after(start, SEARCH_TIME + 600 * second); now < end;) {
        const next = toInstant(Math.min(radio.nextTimeout(now), end))
        expect(next).toBeGreaterThan(now)
        if (on && now >= after(start, SEARCH_TIME)) heard += next - now
        now = next
        radio.handleTimeout(now)
        for (const command of commands(radio, now)) if (command.kind === 'scan') on = command.on
      }
      const { scan } = dutyOf(mode, false)
      expect(heard / (600 * second), mode).toBeCloseTo(scan.window / scan.period, 1)
    }
  })

  test('a window is open from its beginning, for its length', () => {
    const { scan } = dutyOf('active', false)
    expect(scanWindow(scan, start, start)).toEqual({ open: true, until: at(6) })
    expect(scanWindow(scan, start, at(6))).toEqual({ open: false, until: at(20) })
    expect(scanWindow(scan, start, at(20))).toEqual({ open: true, until: at(26) })
  })

  test('each change of hint is advertised once', () => {
    const radio = switchedOn()
    radio.setHint(anaHint)
    expect(commands(radio, at(1))).toEqual([{ kind: 'advertise', on: true, hint: anaHint, pace: 'fast' }])
    radio.setHint(anaHint.slice())
    expect(commands(radio, at(2))).toEqual([])
  })
})
