/** Worlds that find nothing prove little: bugs are planted into the shipping code, and the worlds must see each of them. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { never } from '../../src/core/base/time.ts'
import { Radio } from '../../src/core/ble/radio.ts'
import { Reassembly } from '../../src/core/ble/reassembly.ts'
import { Connection } from '../../src/core/connection/connection.ts'
import { Links } from '../../src/core/endpoint/links.ts'
import { SendQueue } from '../../src/core/flow/send-queue.ts'
import { PathLog } from '../../src/core/path/path-log.ts'
import { Remotes } from '../../src/core/path/remotes.ts'
import { ReplayWindow } from '../../src/core/session/replay-window.ts'
import { DriverBleLink } from '../../src/net/ble/ble-link.ts'
import { WorldFailure } from './failure.ts'
import { runWorld, type WorldKind } from './world.ts'

/** A bug that so many worlds do not see could live for long. */
const SEEDS = 60

function original<T, K extends keyof T>(prototype: T, method: K): T[K] {
  return prototype[method]
}

/** The first failure among the seeds. */
function firstFailure(kind: WorldKind = 'wild'): string {
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      runWorld(seed, kind)
    } catch (error) {
      if (!(error instanceof WorldFailure)) throw error
      return error.message
    }
  }
  return `none in ${SEEDS} worlds`
}

afterEach(() => { vi.restoreAllMocks() })

describe('planted bugs', () => {
  it('a retransmission that is forgotten', () => {
    vi.spyOn(SendQueue.prototype, 'onLostRun').mockImplementation(() => undefined)
    expect(firstFailure()).toMatch(/no progress/)
  })

  it('a nonce that is used a second time', () => {
    let calls = 0
    const transmit = original(Connection.prototype, 'transmit')
    vi.spyOn(Connection.prototype, 'transmit').mockImplementation(function (this: Connection, ...args) {
      const keys = this.state.current
      if (keys !== undefined && keys.sendCounter > 1 && calls++ === 100) keys.sendCounter--
      return transmit.apply(this, args)
    })
    expect(firstFailure()).toMatch(/nonce \d+ is used again/)
  })

  it('a replay window that is off by one', () => {
    const check = original(ReplayWindow.prototype, 'check')
    vi.spyOn(ReplayWindow.prototype, 'check').mockImplementation(function (this: ReplayWindow, counter) {
      return counter === this.greatest || check.call(this, counter)
    })
    expect(firstFailure()).toMatch(/came twice/)
  })

  it('a flow-control window that is off by one', () => {
    const packNew = original(SendQueue.prototype, 'packNew')
    vi.spyOn(SendQueue.prototype, 'packNew').mockImplementation(function (this: SendQueue, bytes, at, end, capacity, allowance, limit, log, now) {
      return packNew.call(this, bytes, at, end, capacity, allowance + 1, limit, log, now)
    })
    expect(firstFailure()).toMatch(/charged \d+ of a (session )?window of \d+/)
  })

  it('UDP that is never asked whether it works again', () => {
    vi.spyOn(Remotes.prototype, 'nextAt').mockReturnValue(never)
    expect(firstFailure('paths')).toMatch(/still on a connection [\d.]+ s after UDP|stays on a dead way/)
  })

  it('a connection that is not dialed when the path falls silent', () => {
    vi.spyOn(Links.prototype, 'dial').mockReturnValue(1)
    expect(firstFailure('paths')).toMatch(/stays on a dead way/)
  })

  it('a wish about paths that is not heard', () => {
    vi.spyOn(Connection.prototype, 'setPolicy').mockImplementation(() => undefined)
    expect(firstFailure('paths')).toMatch(/which its policy forbids/)
  })

  it('a move that is not recorded', () => {
    vi.spyOn(PathLog.prototype, 'add').mockImplementation(() => undefined)
    expect(firstFailure('paths')).toMatch(/moves \(first\) and does not record it/)
  })

  it('what was in flight on a dead path is not sent again', () => {
    vi.spyOn(SendQueue.prototype, 'onLostRun').mockImplementation(() => undefined)
    expect(firstFailure('paths')).toMatch(/heard nothing for [\d.]+ s although a path worked/)
  })

  it('a radio that is never dialed', () => {
    vi.spyOn(Radio.prototype, 'dial').mockReturnValue('off')
    expect(firstFailure('radio')).toMatch(/heard nothing for [\d.]+ s/)
  })

  it('a Bluetooth link that takes whatever it is given', () => {
    const makeInfo = original(DriverBleLink.prototype, 'makeInfo')
    vi.spyOn(DriverBleLink.prototype, 'makeInfo').mockImplementation(function (this: DriverBleLink) {
      return this.info = { ...makeInfo.call(this), single: false }
    })
    expect(firstFailure('radio')).toMatch(/bytes wait in a link|waited [\d.]+ s for what is critical/)
  })

  it('credit on a Bluetooth link that is not told', () => {
    vi.spyOn(Reassembly.prototype, 'distance').mockReturnValue(0)
    const take = original(Reassembly.prototype, 'take')
    vi.spyOn(Reassembly.prototype, 'take').mockImplementation(function (this: Reassembly, ...args) {
      const result = take.apply(this, args)
      this.taken = 0
      return result
    })
    expect(firstFailure('radio')).toMatch(/heard nothing for [\d.]+ s|no progress/)
  })

  it('a session that stays on Bluetooth', () => {
    vi.spyOn(Remotes.prototype, 'nextAt').mockReturnValue(never)
    expect(firstFailure('radio')).toMatch(/still on Bluetooth/)
  })

  it('what was in flight on a Bluetooth link that is gone is not sent again', () => {
    vi.spyOn(SendQueue.prototype, 'onLostRun').mockImplementation(() => undefined)
    expect(firstFailure('radio')).toMatch(/heard nothing for [\d.]+ s|no progress/)
  })
})
