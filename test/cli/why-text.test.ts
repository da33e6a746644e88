import { describe, expect, it } from 'vitest'
import type { PeerWhyResult } from '../../src/client/client.ts'
import { whyText } from '../../src/cli/why-text.ts'

const NOW = 1_770_000_000_000
const base: PeerWhyResult = {
  id: 'coxwazzrmxfkapbakhirmgcrtvklkhwy5vmwqqqylpfihn3xayfq', name: 'anna', at: NOW, state: 'connected', since: NOW - 60_000, policy: { never: [], from: 'default' },
  paths: [], attempts: [], probes: [], history: [], bounds: { history: 32, attempts: 32, pairs: 64 }, advice: [], pairs: [],
  nat: {
    ours: { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent', word: 'port-restricted cone', from: 'netcheck', servers: 'answer', ipv6: true },
    theirs: { mapping: 'unknown', filtering: 'unknown', word: 'unknown', from: 'none', ipv6: false }, outlook: 'unknown', between: true, text: 'Nobody knows.',
  },
}

describe('postern why', () => {
  it('says the path in use, the rule, and everything beside it', () => {
    const text = whyText({
      ...base, path: { kind: 'tcp', address: '192.0.2.2:7000', since: NOW - 12_000, rule: 'black_hole', because: 'nothing was acknowledged on the other one' },
      paths: [
        { kind: 'tcp', address: '192.0.2.2:7000', state: 'proven', active: true, rttMs: 8.51, loss: 0, sent: 10, lost: 0, mtu: 4125, openedAt: NOW - 13_000, answeredAt: NOW - 12_000 },
        { kind: 'udp', address: '192.0.2.2:7000', state: 'silent', active: false, loss: 0.5, sent: 10, lost: 5, mtu: 1181, openedAt: NOW - 60_000 },
      ],
      probes: [{ address: '192.0.2.2:7000', unanswered: 5 }, { address: '192.0.2.3:7000', unanswered: 0, restMs: 40_000 }],
      pairs: [
        { kind: 'tcp', ours: { address: '198.51.100.1:7000', type: 'tcp-mapped' }, theirs: { address: '192.0.2.2:7000', type: 'known' }, result: 'in_use', count: 1, at: NOW - 12_000 },
        { kind: 'udp', ours: { address: '198.51.100.1:7000', type: 'reflexive' }, theirs: { address: '192.0.2.2:7000', type: 'reflexive' }, result: 'silent', count: 5, at: NOW - 60_000 },
        { kind: 'udp', theirs: { address: '192.0.2.3:7000', type: 'host' }, result: 'quarantined', count: 2 },
      ],
      history: [{ at: NOW - 13_000, what: 'doubt', text: 'nothing was acknowledged on UDP 192.0.2.2:7000: all paths were asked', count: 2 }],
      advice: [{ text: 'Let UDP pass.', command: 'postern log' }],
    }, 150)
    expect(text).toBe(`anna is reached by tcp 192.0.2.2:7000 for 12 s: nothing was acknowledged on the other one.
Policy: any kind of path, the best first (nothing is configured).

Paths
  PATH                  STATE   RTT      LOSS    MTU   ANSWERED
  tcp 192.0.2.2:7000 *  works   8.51 ms  0 %     4125  12 s ago
  udp 192.0.2.2:7000    silent  -        50.0 %  1181  -

Routers in between
  here   port-restricted cone: mapping endpoint-independent, filtering address-and-port-dependent, by netcheck, has IPv6
  there  not known

Pairs of addresses
  KIND  OURS                         THEIRS                    RESULT
  tcp   198.51.100.1:7000 mapped     192.0.2.2:7000            in use                                             once     12 s ago
  udp   198.51.100.1:7000 reflexive  192.0.2.2:7000 reflexive  silent                                             5 times  1 min ago
  udp   -                            192.0.2.3:7000 host       rests for 40 s: it answered probes, but lost data  2 times

What happened (the last 32)
  13 s ago  nothing was acknowledged on UDP 192.0.2.2:7000: all paths were asked (2 times)

Let UDP pass.
  postern log`)
  })

  it('says why a peer is not reached', () => {
    const text = whyText({
      ...base, state: 'unreachable', reason: 'timeout', policy: { only: 'tcp', never: [], from: 'peer' }, dial: { since: NOW - 100_000, loud: false, nextMs: 25_000 },
      pairs: [
        { kind: 'tcp', theirs: { address: '192.0.2.2:7000', type: 'known' }, result: 'refused', count: 3, at: NOW - 2000 },
        { kind: 'udp', theirs: { address: '192.0.2.2:7000', type: 'known' }, result: 'policy', count: 0 },
      ],
      nat: { ...base.nat, theirs: { mapping: 'dependent', filtering: 'unknown', word: 'symmetric', from: 'told', ipv6: false }, outlook: 'guess', text: 'Ports have to be guessed.' },
      guess: { role: 'easy', target: '192.0.2.2:7000', startedAt: NOW - 40_000, endedAt: NOW - 5000, outcome: 'in_vain', sent: 1750, heard: 0 },
    }, 120)
    expect(text).toBe(`anna is unreachable (timeout) for 1 min; it is dialed now and then, the next time in 25 s.
Policy: only TCP (set for this peer).

Routers in between
  here   port-restricted cone: mapping endpoint-independent, filtering address-and-port-dependent, by netcheck, has IPv6
  there  symmetric: mapping by destination, it says so
  Ports have to be guessed.
  Guessing ports (by many ports there, 192.0.2.2:7000) led nowhere: 40 s ago, 1750 sent, 0 heard.

Pairs of addresses
  KIND  OURS  THEIRS          RESULT
  tcp   -     192.0.2.2:7000  refused: nobody listens there     3 times  2 s ago
  udp   -     192.0.2.2:7000  not tried: the policy forbids it`)
  })

  it('cuts its lines to the terminal, and lets no name command it', () => {
    const text = whyText({ ...base, name: 'a\u001b[2Jb\n', history: [{ at: NOW, what: 'move', text: 'x'.repeat(200) }] }, 60)
    expect(text).not.toContain('\u001b')
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(60)
  })

  it('wraps sentences, and begins each of several remedies with a dash', () => {
    const ours = { ...base.nat.ours, mapping: 'address-and-port-dependent', word: 'symmetric', ipv6: false }
    const text = whyText({
      ...base, state: 'dialing', nat: { ours, theirs: { ...base.nat.theirs, mapping: 'dependent', word: 'symmetric', from: 'told' }, outlook: 'never', between: true, text: 'Both are seen at another port by each destination: there is no direct way by UDP between the two.' },
      advice: [{ remedy: 'classes', text: 'The router here is symmetric, and that of the peer is symmetric too. One of the following is enough:' }, { remedy: 'port_mapping', text: 'Port mapping.', command: 'postern netcheck' }],
    }, 64)
    expect(text).toBe(`anna is dialing for 1 min.
Policy: any kind of path, the best first (nothing is configured…

Routers in between
  here   symmetric: mapping address-and-port-dependent,
         filtering address-and-port-dependent, by netcheck
  there  symmetric: mapping by destination, it says so
  Both are seen at another port by each destination: there is no
  direct way by UDP between the two.

- The router here is symmetric, and that of the peer is
  symmetric too. One of the following is enough:
- Port mapping.
    postern netcheck`)
  })
})
