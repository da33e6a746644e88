import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { minute, second } from '../../../src/core/base/time.ts'
import { parseHttpUrl } from '../../../src/core/wire/http-url.ts'
import type { DatagramWay, HttpOutcome } from '../../../src/core/wire/port-map-io.ts'
import { bytes, mutations } from '../../support/bytes.ts'
import { envelope, fault, host, ok } from '../../support/home-router.ts'
import { LOCAL, PortMapScene } from '../../support/port-map-scene.ts'

const found = (location: string): Uint8Array => Buffer.from(`HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: ${location}\r\n\r\n`)

describe('answers that are not the router’s', () => {
  it('datagrams from elsewhere, or from another port of the router, are dropped', () => {
    for (const [from, port] of [['192.168.1.66', 5351], ['192.168.1.1', 5352], ['11.0.0.1', 5351]] as const) {
      const scene = new PortMapScene({ speaks: [] }).join()
      for (const answer of [...scene.router.announcements(0)]) for (const way of ['mapping', 'announcement'] as const) scene.receive(way, from, port, answer)
      expect([scene.count('portmap_drop_source'), scene.run(10 * second).told]).toEqual([4, []])
    }
    const scene = new PortMapScene({ speaks: [] }).join()
    scene.receive('search', '192.168.1.66', 1900, found('http://192.168.1.66:5000/x.xml'))
    expect([scene.count('portmap_drop_source'), scene.count('portmap_http_requests')]).toEqual([1, 0])
  })

  it('PCP with another nonce is dropped, and the question goes on', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] })
    let forged = 0
    scene.router.tamper = (answer) => {
      if (answer.length < 60 || forged >= 3) return [answer]
      forged++
      const other = answer.slice()
      other[30]! ^= 1
      return [other]
    }
    scene.join().run(minute)
    expect([scene.count('portmap_drop_nonce'), scene.told]).toEqual([3, ['mapped udp 11.0.0.11:7000 pcp']])
  })

  it('answers that nobody asked for, and copies, change nothing', () => {
    for (const protocol of ['pcp', 'nat-pmp'] as const) {
      const scene = new PortMapScene({ speaks: [protocol] })
      scene.router.tamper = (answer) => [answer, answer, answer]
      scene.join().run(minute)
      expect([scene.told.length, scene.count('portmap_mapped'), scene.count('portmap_renewed')]).toEqual([1, 1, 0])
      expect(scene.count('portmap_drop_unexpected')).toBeGreaterThan(1)
    }
  })

  it('a mapping of another port is not ours', () => {
    const scene = new PortMapScene({ speaks: ['nat-pmp'] })
    scene.router.tamper = (answer) => {
      if (answer.length === 16) new DataView(answer.buffer, answer.byteOffset).setUint16(8, 7001)
      return [answer]
    }
    expect(scene.join().run(minute).told).toEqual([])
  })
})

describe('a router that lies about the outside', () => {
  it.each(['10.0.0.5', '192.168.7.1', '100.64.3.3', '127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '169.254.1.1'])('%s is told to nobody, is given back, and no other protocol is tried for it', (external) => {
    for (const protocol of ['pcp', 'nat-pmp', 'upnp'] as const) {
      const scene = new PortMapScene({ speaks: [protocol], external }).join().run(30 * second)
      expect(scene.told, protocol).toEqual([])
      expect(scene.router.table.size, protocol).toBe(0)
      expect(scene.mapper.view(scene.now).state).toBe('none')
      expect(scene.mapTimes.length).toBeLessThanOrEqual(2)
    }
  })

  it('so is a port that no peer would send to', () => {
    for (const [port, mapped] of [[0, false], [53, false], [1023, false], [443, true], [3478, true], [1024, true]] as const) {
      const scene = new PortMapScene({ speaks: ['pcp'] })
      scene.router.tamper = (answer) => {
        if (answer.length === 60) new DataView(answer.buffer, answer.byteOffset).setUint16(42, port)
        return [answer]
      }
      expect(scene.join().run(30 * second).told.length, String(port)).toBe(mapped ? 1 : 0)
    }
  })
})

describe('UPnP that leads elsewhere', () => {
  it.each(['http://192.168.1.66:5000/x.xml', 'http://11.0.0.1/', 'http://router.local/x.xml', 'https://192.168.1.1/x.xml', 'http://u:p@192.168.1.1/', 'file:///etc/passwd', 'http://[fd00::1]/x'])('a description at %s is not asked for', (location) => {
    const scene = new PortMapScene({ speaks: [] }).join()
    scene.receive('search', scene.router.address, 1900, found(location))
    expect([scene.count('portmap_http_requests'), scene.count('portmap_upnp_foreign') + scene.count('portmap_drop_malformed')]).toEqual([0, 1])
  })

  it.each(['http://192.168.1.66:80/ctl', 'http://11.0.0.1/ctl', '//192.168.1.66/ctl', 'https://192.168.1.1/ctl', 'javascript:x'])('a control URL %s is not posted to', (controlUrl) => {
    const scene = new PortMapScene({ speaks: ['upnp'], controlUrl }).join().run(minute)
    expect([scene.count('portmap_http_requests'), scene.told]).toEqual([1, []])
    expect(scene.mapper.view(scene.now)).toMatchObject({ state: 'none', reason: 'broken answers' })
  })

  it('nor is a base that the description names', () => {
    const scene = new PortMapScene({ speaks: ['upnp'] })
    const description = scene.router.description().replace('<device>', '<URLBase>http://192.168.1.66:80/</URLBase><device>')
    scene.router.web = (_url, soap) => (soap === undefined ? ok(description) : undefined)
    scene.join().run(minute)
    expect([scene.count('portmap_http_requests'), scene.count('portmap_upnp_foreign')]).toEqual([1, 1])
  })

  it('at most four descriptions of one search are looked at', () => {
    const scene = new PortMapScene({ speaks: [] })
    scene.router.web = () => ({ kind: 'answer', status: 404, body: '' })
    scene.join()
    for (let i = 0; i < 100; i++) scene.receive('search', scene.router.address, 1900, found(`http://192.168.1.1:5000/${i}.xml`))
    scene.run(minute)
    expect([scene.count('portmap_http_requests'), scene.count('portmap_upnp_broken')]).toEqual([4, 4])
  })

  const outcomes: readonly (readonly [string, HttpOutcome, string])[] = [
    ['a redirect', { kind: 'answer', status: 307, body: '' }, 'portmap_upnp_redirects'], ['too much', { kind: 'failed', reason: 'oversized' }, 'portmap_upnp_oversized'],
    ['nothing', { kind: 'failed', reason: 'timeout' }, 'portmap_upnp_timeouts'], ['a cut', { kind: 'failed', reason: 'broken' }, 'portmap_upnp_broken'],
    ['no XML', ok('hello'), 'portmap_upnp_broken'], ['entities', ok('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), 'portmap_upnp_broken'], ['no service', ok('<root/>'), 'portmap_upnp_broken'],
  ]
  it.each(outcomes)('%s as a description is counted, and the search ends', (_, outcome, name) => {
    const scene = new PortMapScene({ speaks: ['upnp'] })
    scene.router.web = () => outcome
    scene.join().run(30 * second)
    expect([scene.told, scene.mapper.counters()[name as 'portmap_upnp_broken'], scene.mapper.view(scene.now).state]).toEqual([[], 1, 'none'])
  })

  it.each([...outcomes.filter(([, , name]) => name !== 'portmap_upnp_broken'), ['an envelope of something else', ok(envelope('<u:Other/>')), 'portmap_upnp_broken'], ['an error', fault(606), 'portmap_refused'], ['an error without a number', ok(envelope('<s:Fault/>')), 'portmap_refused']] as const)('%s as the answer to a mapping is a no', (_, outcome, name) => {
    const scene = new PortMapScene({ speaks: ['upnp'] })
    scene.router.web = (_url, soap) => (soap?.action.includes('AddPortMapping') === true ? outcome : undefined)
    scene.join().run(30 * second)
    expect([scene.told, scene.mapper.counters()[name as 'portmap_upnp_broken'] > 0, scene.mapper.view(scene.now).state]).toEqual([[], true, 'none'])
  })
})

it('whatever comes, from whom and when: nothing is thrown, nobody but the router is asked, and little is sent', () => {
  const way = fc.constantFrom<DatagramWay>('mapping', 'search', 'announcement')
  const seconds = fc.nat({ max: 2000 })
  const scene0 = new PortMapScene()
  const valid = [...scene0.router.announcements(5), ...scene0.router.datagram(5, 5351, LOCAL, Buffer.from('000100001b581b58000004b0', 'hex')), found('http://192.168.1.1:5000/x.xml')]
  const datagram = fc.oneof(bytes(0, 80), fc.constantFrom(...valid).chain(mutations), fc.constantFrom(...valid))
  const outcome = fc.oneof(fc.record({ kind: fc.constant('answer' as const), status: fc.nat({ max: 999 }), body: fc.oneof(fc.string(), fc.constantFrom(scene0.router.description(), envelope(''))) }), fc.constant({ kind: 'failed', reason: 'broken' } as const))
  const step = fc.oneof(
    fc.record({ kind: fc.constant('datagram' as const), way, from: fc.constantFrom('192.168.1.1', '192.168.1.66'), port: fc.constantFrom(5351, 1900, 1), bytes: datagram }),
    fc.record({ kind: fc.constant('http' as const), token: fc.nat({ max: 20 }), outcome }),
    fc.record({ kind: fc.constant('time' as const), seconds }),
    fc.record({ kind: fc.constant('network' as const), up: fc.boolean() }),
    fc.constant({ kind: 'shutdown' as const }),
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), fc.subarray(['pcp', 'nat-pmp', 'upnp'] as const), fc.nat(), (steps, speaks, seed) => {
    const scene = new PortMapScene({ speaks }, { seed, tcp: true })
    scene.join()
    let time = 0
    for (const one of steps) {
      switch (one.kind) {
        case 'datagram':
          scene.receive(one.way, one.from, one.port, one.bytes)
          break
        case 'http':
          scene.act(() => scene.mapper.handleHttp(scene.now, one.token, one.outcome))
          break
        case 'time':
          scene.run(one.seconds * second)
          time += one.seconds
          break
        case 'network':
          scene.act(() => scene.mapper.setGateway(scene.now, one.up ? scene.gateway : undefined))
          break
        case 'shutdown':
          scene.act(() => scene.mapper.shutdown(scene.now))
      }
    }
    // A round costs 24 datagrams at most; a hostile host can begin one with each step, time one every 4 s at worst.
    expect(scene.sent.length).toBeLessThan(60 * (steps.length + 1) + 8 * time)
  }), { numRuns: 300 })
})

it('its own addresses are what the tests think', () => {
  expect(parseHttpUrl('http://192.168.1.1:5000/x.xml')?.address).toEqual(host('192.168.1.1', 5000))
})
