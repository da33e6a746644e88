import { describe, expect, it } from 'vitest'
import type { PeerWhyResult } from '../../src/client/client.ts'
import { whyText } from '../../src/cli/why-text.ts'

const NOW = 1_770_000_000_000
const base: PeerWhyResult = {
  id: 'coxwazzrmxfkapbakhirmgcrtvklkhwy5vmwqqqylpfihn3xayfq', name: 'anna', at: NOW, state: 'connected', since: NOW - 60_000, policy: { never: [], from: 'default' },
  paths: [], attempts: [], probes: [], history: [], bounds: { history: 32, attempts: 32 }, advice: [],
}

describe('postern why', () => {
  it('says the path in use, the rule, and everything beside it', () => {
    const text = whyText({
      ...base, path: { kind: 'tcp', address: '192.0.2.2:7000', since: NOW - 12_000, rule: 'black_hole', because: 'nothing was acknowledged on the other one' },
      paths: [
        { kind: 'tcp', address: '192.0.2.2:7000', state: 'proven', active: true, rttMs: 8.51, loss: 0, sent: 10, lost: 0, mtu: 4125, openedAt: NOW - 13_000, answeredAt: NOW - 12_000 },
        { kind: 'udp', address: '192.0.2.2:7000', state: 'silent', active: false, loss: 0.5, sent: 10, lost: 5, mtu: 1181, openedAt: NOW - 60_000 },
      ],
      attempts: [{ kind: 'tcp', address: '192.0.2.2:7000', result: 'answered', count: 1, firstAt: NOW - 13_000, lastAt: NOW - 13_000, cause: 'doubt' }],
      probes: [{ address: '192.0.2.2:7000', unanswered: 5 }, { address: '192.0.2.3:7000', unanswered: 0, restMs: 40_000 }],
      history: [{ at: NOW - 13_000, what: 'doubt', text: 'nothing was acknowledged on UDP 192.0.2.2:7000: all paths were asked', count: 2 }],
      advice: [{ text: 'Let UDP pass.', command: 'postern log' }],
    }, 120)
    expect(text).toBe(`anna is reached by tcp 192.0.2.2:7000 for 12 s: nothing was acknowledged on the other one.
Policy: any kind of path, the best first (nothing is configured).

Paths
  PATH                  STATE   RTT      LOSS    MTU   ANSWERED
  tcp 192.0.2.2:7000 *  works   8.51 ms  0 %     4125  12 s ago
  udp 192.0.2.2:7000    silent  -        50.0 %  1181  -

What was tried (the last 32 addresses)
  tcp 192.0.2.2:7000  the peer answered  1 times  13 s ago

UDP is asked at
  192.0.2.2:7000  5 questions without an answer
  192.0.2.3:7000  rests for 40 s: it answered probes, but lost data

What happened (the last 32)
  13 s ago  nothing was acknowledged on UDP 192.0.2.2:7000: all paths were asked (2 times)

Let UDP pass.
  postern log`.replace('1 times', 'once'))
  })

  it('says why a peer is not reached', () => {
    const text = whyText({
      ...base, state: 'unreachable', reason: 'timeout', policy: { only: 'tcp', never: [], from: 'peer' }, dial: { since: NOW - 100_000, loud: false, nextMs: 25_000 },
      attempts: [{ kind: 'udp', address: '192.0.2.2:7000', result: 'policy', count: 0 }, { kind: 'tcp', address: '192.0.2.2:7000', result: 'refused', count: 3, lastAt: NOW - 2000 }],
    }, 120)
    expect(text).toBe(`anna is unreachable (timeout) for 1 min; it is dialed now and then, the next time in 25 s.
Policy: only TCP (set for this peer).

What was tried (the last 32 addresses)
  udp 192.0.2.2:7000  not tried: the policy forbids it
  tcp 192.0.2.2:7000  refused: nobody listens there     3 times  2 s ago`)
  })

  it('cuts its lines to the terminal, and lets no name command it', () => {
    const text = whyText({ ...base, name: 'a\u001b[2Jb\n', history: [{ at: NOW, what: 'move', text: 'x'.repeat(200) }] }, 60)
    expect(text).not.toContain('\u001b')
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(60)
  })
})
