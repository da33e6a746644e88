import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../src/core/base/bytes.ts'
import { Counters } from '../../src/core/base/counters.ts'
import { MessageRun } from '../../src/core/base/message-run.ts'
import { second, toInstant } from '../../src/core/base/time.ts'
import { IpcBatchPool, IpcSlice } from '../../src/core/wire/ipc/ipc-outbox.ts'
import { AuthThrottle } from '../../src/ipc/auth-throttle.ts'
import { ipcCounterNames } from '../../src/ipc/counters.ts'
import { ResumeTokens } from '../../src/ipc/resume-tokens.ts'
import { IpcSession } from '../../src/ipc/session.ts'
import { EchoHandler, frame, jsonFrame, messageFrame, PEER } from './support.ts'

const methods = [
  'hello', 'status', 'peers', 'peer.add', 'peer.connect', 'listen', 'unlisten', 'channel.open', 'channel.accept', 'channel.reject', 'channel.close', 'channel.stats', 'invite.create', 'subscribe',
]
const call = fc.tuple(fc.constantFrom(...methods), fc.record({
  protocol: fc.constantFrom(1, 2, -1, '1'), peer: fc.constant(PEER), id: fc.constant(PEER), app: fc.constantFrom('echo', 'dice', 'A'), mode: fc.constantFrom('reliable-ordered', 'unreliable', 'latest'),
  channel: fc.nat(6), credit: fc.constantFrom(0, 1, 1000, -5), key: fc.constantFrom('k', 7),
}, { requiredKeys: [] })).map(([method, params]) => jsonFrame({ jsonrpc: '2.0', id: 1, method, params }))

const input = fc.oneof(
  { weight: 4, arbitrary: call },
  { weight: 4, arbitrary: fc.tuple(fc.nat(6), fc.uint8Array({ maxLength: 80 }), fc.constantFrom(255, 255, 255, 0, 9)).map(([channel, bytes, lane]) => messageFrame(channel, bytes, { lane })) },
  { weight: 2, arbitrary: fc.tuple(fc.nat(6), fc.nat(255)).map(([channel, add]) => frame(2, Uint8Array.of(channel, 0, 0, 0, add, 0, 0, 0))) },
  { weight: 1, arbitrary: fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 40 })).map(([kind, body]) => frame(kind, body)) },
  { weight: 1, arbitrary: fc.jsonValue().map((value) => jsonFrame(value)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
)

function makeSession(handler: EchoHandler): IpcSession {
  return new IpcSession(0, toInstant(0), {
    handler, pool: new IpcBatchPool(), throttle: new AuthThrottle(), counters: new Counters(ipcCounterNames),
    tally: { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 }, run: new MessageRun(64), messageMax: 1000, tokens: new ResumeTokens(), linger: 10 * second,
  }, { wake: () => undefined, handOver: () => undefined })
}

describe('a session', () => {
  it('takes any bytes in any pieces, stays bounded, and tells the router of every end once (10,000 inputs)', () => {
    fc.assert(fc.property(fc.boolean(), fc.array(input, { minLength: 10, maxLength: 10 }), fc.array(fc.nat(2000), { maxLength: 4 }), fc.boolean(), (greets, inputs, cuts, reads) => {
      const handler = new EchoHandler()
      handler.sendCredit = 200
      const session = makeSession(handler)
      const slice = new IpcSlice()
      const hello = greets ? [jsonFrame({ jsonrpc: '2.0', id: 0, method: 'hello', params: { protocol: 1 } })] : []
      const stream = concat(...hello, ...inputs)
      let now = 0
      let start = 0
      for (const cut of [...cuts.map((at) => at % (stream.length + 1)).sort((a, b) => a - b), stream.length]) {
        now += 1_000_000
        session.receive(toInstant(now), stream.slice(start, cut))
        start = cut
        session.settle(toInstant(now))
        while (reads && session.takeWrite(toInstant(now), slice)) session.wrote()
        session.handleTimeout(toInstant(now))
      }
      expect(handler.faults).toEqual([])
      expect(session.outbox.unsent).toBeLessThan(4_194_304)
      const opened = handler.clients.size + handler.ends.length
      session.disconnected(toInstant(now), undefined)
      session.settle(toInstant(now))
      // Channels that were open wait for the client, for a while.
      if (session.lingering) session.handleTimeout(toInstant(now + 10_000_000))
      session.settle(toInstant(now))
      expect(session.gone).toBe(true)
      expect(handler.ends.length).toBe(opened)
      expect(handler.clients.size).toBe(0)
      expect(session.signal.aborted).toBe(opened === 1)
    }), { numRuns: 1000 })
  })
})
