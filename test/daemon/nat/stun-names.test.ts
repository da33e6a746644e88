import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { formatAddress, type HostPort } from '../../../src/core/base/address.ts'
import { nameOf, StunNames } from '../../../src/daemon/nat/stun-names.ts'
import { stunEnabled } from '../../../src/daemon/nat/nat-service.ts'

const here: HostPort = { host: '192.0.2.1', port: 3478 }
const named: HostPort = { host: 'stun.example.org', port: 19_302 }
const slow: HostPort = { host: 'slow.example.org', port: 3478 }

describe('the addresses of STUN servers', () => {
  let applied: string[][] = []
  let answers: Record<string, readonly string[] | undefined> = {}
  let network = true
  let asked: string[] = []
  let names: StunNames
  const make = (...servers: readonly HostPort[]): void => {
    names = new StunNames({
      servers, hasNetwork: () => network, unit: () => 0.5,
      apply: (found) => applied.push(found.map(({ name, address }) => `${name} ${formatAddress(address)}`)),
      resolve: (host) => {
        asked.push(host)
        if (host === here.host) return Promise.resolve([host])
        const answer = answers[host]
        return answer === undefined ? new Promise(() => undefined) : Promise.resolve(answer)
      },
    })
  }

  beforeEach(() => {
    vi.useFakeTimers()
    applied = []
    asked = []
    answers = {}
    network = true
  })

  afterEach(() => {
    names.close()
    vi.useRealTimers()
  })

  it('come in the order of the configuration, of both families', async () => {
    answers = { [named.host]: ['203.0.113.1', '2001:db8::1'] }
    make(named, here)
    names.start()
    await vi.advanceTimersByTimeAsync(0)
    expect(applied).toEqual([['stun.example.org:19302 203.0.113.1:19302', 'stun.example.org:19302 [2001:db8::1]:19302', '192.0.2.1:3478 192.0.2.1:3478']])
    expect([names.unresolved, names.looking]).toEqual([[], false])
  })

  it('a slow name is not waited for', async () => {
    make(slow, here)
    names.start()
    expect(names.looking).toBe(true)
    await vi.advanceTimersByTimeAsync(1600)
    expect([applied, names.unresolved, names.looking]).toEqual([[['192.0.2.1:3478 192.0.2.1:3478']], [slow], false])
  })

  it('a name without an address is asked for again, ever more rarely, and an answer is told once', async () => {
    answers = { [named.host]: [] }
    make(named)
    names.start()
    await vi.advanceTimersByTimeAsync(60 * 60_000)
    const unanswered = asked.length
    expect(unanswered).toBeGreaterThan(8)
    expect(unanswered).toBeLessThan(14)
    answers = { [named.host]: ['203.0.113.1'] }
    await vi.advanceTimersByTimeAsync(20 * 60_000)
    expect(applied).toEqual([['stun.example.org:19302 203.0.113.1:19302']])
    // Looked up again now and then; one that nobody tells just now keeps what it had.
    answers = { [named.host]: [] }
    await vi.advanceTimersByTimeAsync(3 * 60 * 60_000)
    expect([applied.length, names.unresolved]).toEqual([1, []])
  })

  it('without a network no name is asked for; with the next one at once', async () => {
    network = false
    answers = { [named.host]: ['203.0.113.1'] }
    make(named, here)
    names.start()
    await vi.advanceTimersByTimeAsync(10_000)
    expect([asked.includes(named.host), applied]).toEqual([false, [['192.0.2.1:3478 192.0.2.1:3478']]])
    network = true
    names.networkChanged()
    await vi.advanceTimersByTimeAsync(0)
    expect(applied.at(-1)).toEqual(['stun.example.org:19302 203.0.113.1:19302', '192.0.2.1:3478 192.0.2.1:3478'])
  })

  it('an answer after the end is not told', async () => {
    answers = { [named.host]: ['203.0.113.1'] }
    make(named)
    names.start()
    names.close()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(applied).toEqual([])
  })
})

it('are asked only where the configuration and the environment let them be', () => {
  const stun = { enabled: true, servers: [here], refresh: 0, portal: undefined }
  expect([stunEnabled(stun, {}), stunEnabled(stun, { POSTERN_STUN: '0' }), stunEnabled(stun, { POSTERN_STUN: '' }), stunEnabled({ ...stun, enabled: false }, {}), stunEnabled({ ...stun, servers: [] }, {})]).toEqual([true, false, true, false, false])
  expect([nameOf(named), nameOf({ host: '2001:db8::1', port: 1 })]).toEqual(['stun.example.org:19302', '[2001:db8::1]:1'])
})
