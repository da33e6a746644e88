import { describe, expect, it } from 'vitest'
import type { PeerInfo, StatusResult } from '../../src/client/client.ts'
import { displayWidth } from '../../src/cli/text.ts'
import type { WatchResult } from '../../src/cli/results.ts'
import { inOrder, ratesBetween, watchLines } from '../../src/cli/watch-screen.ts'

const NOW = 1_800_000_000_000
const id = (begin: string): string => begin.padEnd(52, 'a')

const peers: readonly PeerInfo[] = [
  { id: id('pmvfq3xz'), handle: 2, name: 'bob', state: 'offline', since: NOW - 86_400_000, channels: 0 },
  { id: id('coxwazzr'), handle: 1, name: 'anna', state: 'connected', since: NOW - 182_000, path: 'udp 192.0.2.2:33531', rttMs: 8.5, loss: 0, channels: 2 },
  { id: id('zzzzzzzz'), handle: 3, state: 'connected', since: NOW - 1000, path: 'tcp [2001:db8::1]:443', rttMs: 120, loss: 0.034, channels: 12 },
]
const rates = { messagesReceived: 600, messagesSent: 0, datagramsReceived: 61, datagramsSent: 20.4, bytesReceived: 11_469, bytesSent: 2048, packetsLost: 0.5 }
const idle = { sent: 0, queued: 0, dropped: {} }
const idleLanes = { critical: idle, high: idle, normal: { ...idle, sent: 9 }, low: idle }
const snapshot: WatchResult = { at: NOW, peerId: id('kwe3db3r'), version: '0.1.0', uptimeMs: 724_000, sessions: 2, rates, lanes: idleLanes, peers }
const wide = { columns: 200, rows: 50, colours: false }

describe('the table of watch', () => {
  it('has everything on a wide terminal, the connected first', () => {
    expect(watchLines(snapshot, wide)).toEqual([
      'postern 0.1.0  kwe3db3r  up 12 min 4 s  3 peers, 2 connected',
      'in 11.2 KiB/s 61 datagrams/s 600 messages/s   out 2.0 KiB/s 20 datagrams/s 0 messages/s   lost 0.5/s',
      '',
      'PEER      ID        STATE            FOR  PATH                       RTT   LOSS  CHANNELS',
      'anna      coxwazzr  connected  3 min 2 s  udp 192.0.2.2:33531    8.50 ms    0 %         2',
      'zzzzzzzz  zzzzzzzz  connected        1 s  tcp [2001:db8::1]:443   120 ms  3.4 %        12',
      'bob       pmvfq3xz  offline          1 d  -                            -      -         0',
    ])
  })

  it.each([200, 88, 80, 60, 50, 40, 30, 20, 10, 1])('never is wider than %i columns, with colours and without', (columns) => {
    for (const colours of [true, false]) {
      // Escape sequences take no columns.
      const lines = watchLines(snapshot, { columns, rows: 50, colours }).map((line) => line.replaceAll(/\u001b\[\d+m/g, ''))
      expect(Math.max(...lines.map(displayWidth))).toBeLessThanOrEqual(columns)
    }
  })

  it('keeps what matters most when it gets narrow: who, state, kind of path', () => {
    const at = (columns: number): string => watchLines(snapshot, { columns, rows: 50, colours: false })[4]!
    expect(at(80)).toMatch(/^anna +connected .*udp 192\.0\.2\.2:33531 .*2$/)
    expect(at(54)).toMatch(/^anna +connected +udp +8\.50 ms +0 % +2$/)
    expect(at(36)).toMatch(/^anna +connected +udp +8\.50 ms$/)
    expect(at(22)).toMatch(/^anna +connected$/)
  })

  it('is never higher than the terminal, and says what it leaves out', () => {
    const many = { ...snapshot, peers: Array.from({ length: 100 }, (_, i): PeerInfo => ({ id: id(`p${i}`), handle: i, state: 'offline', since: NOW, channels: 0 })) }
    const lines = watchLines(many, { columns: 80, rows: 20, colours: false })
    expect(lines).toHaveLength(20)
    expect(lines.at(-1)).toBe('… and 85 more')
    expect(watchLines(many, { columns: 80, rows: 3, colours: false })).toHaveLength(3)
    expect(watchLines(many, wide)).toHaveLength(50)
    expect(watchLines(many, { ...wide, rows: Infinity })).toHaveLength(104)
  })

  it('cannot be commanded by a name', () => {
    const evil = { ...snapshot, peers: [{ ...peers[0]!, name: 'a\u001b[2J\nb' }] }
    expect(watchLines(evil, wide).join('')).not.toMatch(/[\u001b\n]/)
  })

  it('says in which lanes messages wait or were dropped, where there are any', () => {
    const lanes = { ...idleLanes, critical: { ...idle, queued: 2 }, low: { sent: 0, queued: 300, dropped: { 'drop-oldest': 7, 'deadline': 1 } } }
    expect(watchLines({ ...snapshot, lanes }, wide).slice(2, 4)).toEqual(['messages: critical 2 waiting, low 300 waiting 8 dropped', ''])
  })

  it('says what to do when nobody is there, and that rates come later', () => {
    const { rates: _none, ...first } = snapshot
    expect(watchLines({ ...first, peers: [] }, wide).slice(1)).toEqual(['rates from the next look on', '', 'There are no peers yet. Let somebody in: postern invite'])
  })
})

it('rates are of the time between two looks by the daemon\'s own clock; one that started anew has none', () => {
  const status = (uptimeMs: number, received: number): StatusResult => ({
    peerId: id('x'), version: '1', uptimeMs, sessions: 0, paths: { direct: 0, tcp: 0, relay: 0, turn: 0, ble: 0 }, addresses: [], lanes: idleLanes, counters: { messages_received: received },
  })
  expect(ratesBetween(status(1000, 10), status(3000, 25))).toMatchObject({ messagesReceived: 7.5, bytesSent: 0 })
  expect(ratesBetween(status(5000, 10), status(1000, 25))).toBeUndefined()
  expect(ratesBetween(status(1000, 10), status(1000, 10))).toBeUndefined()
  expect(ratesBetween(status(1000, 10), status(9000, 2))).toMatchObject({ messagesReceived: 0 })
})

it('order is by state, name, id', () => {
  expect(inOrder(peers).map((peer) => peer.id.slice(0, 4))).toEqual(['coxw', 'zzzz', 'pmvf'])
})
