import { describe, expect, it } from 'vitest'
import { decodeAddress } from '../../../src/core/base/address.ts'
import { millisecond, minute, never, second } from '../../../src/core/base/time.ts'
import { host } from '../../support/home-router.ts'
import { LOCAL, PortMapScene } from '../../support/port-map-scene.ts'

describe('which protocol', () => {
  it.each([
    [['pcp', 'nat-pmp', 'upnp'], 'pcp'], [['nat-pmp', 'upnp'], 'nat-pmp'], [['pcp'], 'pcp'], [['nat-pmp'], 'nat-pmp'], [['upnp'], 'upnp'],
  ] as const)('a router that speaks %j maps by %s, and is asked for one mapping only', (speaks, expected) => {
    const scene = new PortMapScene({ speaks }).join().run(2 * second)
    expect(scene.told).toEqual([`mapped udp 11.0.0.11:7000 ${expected}`])
    expect(scene.router.asked.filter((line) => / (?:map|add) /.test(line))).toHaveLength(1)
    expect([...scene.router.table.values()]).toMatchObject([{ by: expected, client: LOCAL, internalPort: 7000, lifetime: 1200 }])
    expect(scene.mapper.view(scene.now)).toMatchObject({ state: 'mapped', protocol: expected })
  })

  it('PCP is chosen with its first answer, the others after a moment for what is better', () => {
    expect(new PortMapScene({ speaks: ['pcp', 'upnp'] }).join().run(10 * millisecond).told).toHaveLength(1)
    // Nothing says that PCP is not there: a firewall may drop it.
    const upnp = new PortMapScene({ speaks: ['upnp'] }).join()
    expect(upnp.run(250 * millisecond).told).toEqual([])
    expect(upnp.run(100 * millisecond).told).toHaveLength(1)
  })

  it('UDP and TCP get the same external port where it is free', () => {
    for (const speaks of [['pcp'], ['nat-pmp'], ['upnp']] as const) expect(new PortMapScene({ speaks }, { tcp: true }).join().run(second).mapped.sort(), speaks[0]).toEqual(['tcp 11.0.0.11:7000', 'udp 11.0.0.11:7000'])
  })

  it('who refuses is not the end: the next protocol is asked', () => {
    const scene = new PortMapScene({ speaks: ['pcp', 'upnp'] })
    // Somebody holds our mapping under a nonce that we do not know.
    scene.router.table.set('udp 7000', { by: 'pcp', client: LOCAL, internalPort: 7000, lifetime: 1, nonce: '00' })
    scene.join().run(20 * second)
    expect(scene.told).toEqual(['mapped udp 11.0.0.11:7000 upnp'])
    expect(scene.count('portmap_refused')).toBe(1)
  })

  it('a port that others have is another port', () => {
    for (const speaks of [['pcp'], ['nat-pmp'], ['upnp']] as const) {
      const scene = new PortMapScene({ speaks, taken: ['udp 7000'] }).join().run(second)
      expect(scene.mapped, speaks[0]).toHaveLength(1)
      expect(scene.mapped[0]).not.toBe('udp 11.0.0.11:7000')
    }
  })

  it('UPnP gives up after four ports that are taken', () => {
    const scene = new PortMapScene({ speaks: ['upnp'], taken: Array.from({ length: 65_536 }, (_, port) => `udp ${port}`) }).join().run(20 * second)
    expect(scene.router.asked.filter((line) => line.startsWith('upnp add '))).toHaveLength(4)
    expect(scene.mapper.view(scene.now)).toMatchObject({ state: 'none', reason: 'port taken' })
  })

  it('a router that knows permanent mappings only gets one, renewed and removed like others', () => {
    const scene = new PortMapScene({ speaks: ['upnp'], permanentOnly: true }).join().run(15 * minute)
    expect([...scene.router.table.values()]).toMatchObject([{ lifetime: 0 }])
    expect(scene.count('portmap_renewed')).toBe(1)
    scene.act(() => scene.mapper.shutdown(scene.now))
    scene.run(second)
    expect(scene.router.table.size).toBe(0)
  })
})

describe('a router without port mapping', () => {
  it('is asked for 16 s, then after about 1, 5, 25 and 120 min, then never again until the network changes', () => {
    const scene = new PortMapScene({ speaks: [] }).join().run(20 * second)
    expect(scene.mapper.view(scene.now)).toMatchObject({ state: 'none', reason: 'silent' })
    const perRound = scene.sent.length
    expect(perRound).toBe(6 + 6 + 3 * 4)
    scene.run(24 * 60 * minute)
    expect([scene.count('portmap_rounds'), scene.sent.length, scene.mapper.nextTimeout()]).toEqual([5, 5 * perRound, never])
    expect(scene.told).toEqual([])
    scene.act(() => scene.mapper.setGateway(scene.now, { ...scene.gateway, local: host('192.168.1.8') }))
    expect(scene.count('portmap_rounds')).toBe(6)
  })

  it('requests go out 250 ms apart and doubling, give or take a tenth', () => {
    const scene = new PortMapScene({ speaks: [] })
    const times: number[] = []
    scene.act(() => scene.mapper.setGateway(scene.now, scene.gateway))
    for (let before = 0; scene.seconds < 9; scene.run(millisecond)) {
      const count = scene.sent.filter((action) => action.kind === 'datagram' && action.by === 'mapping' && action.bytes[0] === 2).length
      if (count > before) times.push(scene.now / millisecond)
      before = count
    }
    expect(times).toHaveLength(6)
    times.slice(1).forEach((time, i) => {
      const pause = time - times[i]!
      expect(pause).toBeGreaterThanOrEqual(0.9 * 250 * 2 ** i - 1)
      expect(pause).toBeLessThanOrEqual(1.1 * 250 * 2 ** i + 1)
    })
  })

  it.each([
    ['no gateway', undefined], ['a public gateway', { router: host('11.0.0.1'), local: host(LOCAL) }], ['an address of our own that is public', { router: host('192.168.1.1'), local: host('11.0.0.5') }],
    ['IPv6', { router: host('fd00::1'), local: host('fd00::2') }],
  ])('%s: nothing is sent at all', (_, gateway) => {
    const scene = new PortMapScene()
    scene.act(() => scene.mapper.setGateway(scene.now, gateway))
    scene.run(minute)
    expect([scene.sent, scene.mapper.view(scene.now).state]).toEqual([[], 'off'])
  })
})

describe('what is held', () => {
  it.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: is renewed between a half and five eighths of its lifetime, for as long as it runs', (protocol) => {
    const scene = new PortMapScene({ speaks: [protocol] }, { lifetime: 600 * second }).join().run(100 * minute)
    const pauses = scene.mapTimes.slice(1).map((time, i) => (time - scene.mapTimes[i]!) / second)
    expect(pauses.length).toBeGreaterThan(14)
    for (const pause of pauses) expect(pause >= 300 && pause <= 375.1, `${pause} s`).toBe(true)
    expect(new Set(pauses.map(Math.round)).size).toBeGreaterThan(5)
    expect(scene.told).toHaveLength(1)
    expect(scene.count('portmap_renewed')).toBe(pauses.length)
  })

  it('what the router grants is what counts: less than was asked for, and no less than two renewals of 4 s', () => {
    for (const [lifetimeMax, least, most] of [[100, 50, 63], [1, 4, 6], [0x7fff_ffff, 600, 751]] as const) {
      const scene = new PortMapScene({ speaks: ['pcp'], lifetimeMax }).join().run(6 * 750 * second)
      const pauses = scene.mapTimes.slice(1).map((time, i) => (time - scene.mapTimes[i]!) / second)
      expect(pauses.length).toBeGreaterThan(4)
      for (const pause of pauses) expect(pause >= least && pause <= most, `${pause} s of ${lifetimeMax}`).toBe(true)
    }
  })

  it('an unanswered renewal is repeated at three quarters, seven eighths …; what expired is not told any more, and searched anew', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] }, { lifetime: 1200 * second }).join().run(second)
    scene.router.speaks = new Set()
    scene.run(1190 * second)
    expect(scene.mapped).toHaveLength(1)
    expect(scene.count('portmap_renewals_unanswered')).toBeGreaterThanOrEqual(3)
    expect(scene.count('portmap_renewals_unanswered')).toBeLessThan(12)
    scene.run(20 * second)
    expect(scene.told.slice(1)).toEqual(['unmapped udp expired'])
    scene.router.speaks = new Set(['nat-pmp'])
    scene.run(3 * minute)
    expect(scene.told.slice(2)).toEqual(['mapped udp 11.0.0.11:7000 nat-pmp'])
  })

  it('upnp: a router whose web server is at another port since it began anew is found again, whichever mapping ends first', () => {
    for (let seed = 1; seed <= 100; seed++) {
      // A slow web server: UDP is mapped, and ends, most of a second before TCP, which is tried again in between.
      const scene = new PortMapScene({ speaks: ['upnp'] }, { seed, tcp: true, lifetime: 10 * second, webPause: 400 * millisecond }).join().run(4 * second)
      scene.router.reboot(scene.seconds)
      scene.router.httpPort = 5001
      scene.run(14 * second)
      expect(scene.mapped.sort(), `seed ${seed}`).toEqual(['tcp 11.0.0.11:7000', 'udp 11.0.0.11:7000'])
      expect(scene.told.filter((line) => line.startsWith('unmapped')).sort()).toEqual(['unmapped tcp expired', 'unmapped udp expired'])
    }
  })

  it.each(['nat-pmp', 'upnp', 'pcp'] as const)('%s: the router gets another address: the mapping is told anew', (protocol) => {
    const scene = new PortMapScene({ speaks: [protocol] }).join().run(second)
    scene.router.external = '11.0.0.12'
    scene.run(13 * minute)
    expect(scene.told).toEqual([`mapped udp 11.0.0.11:7000 ${protocol}`, `mapped udp 11.0.0.12:7000 ${protocol}`])
    // It lost its line: there is nothing to tell.
    scene.router.external = '10.9.9.9'
    scene.run(13 * minute)
    expect(scene.told.slice(2)).toEqual(['unmapped udp refused'])
  })

  it.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: shutdown removes it, and is over as soon as the router says so', (protocol) => {
    const scene = new PortMapScene({ speaks: [protocol] }, { tcp: true }).join().run(second)
    expect(scene.router.table.size).toBe(2)
    scene.act(() => scene.mapper.shutdown(scene.now))
    expect(scene.mapper.stopped).toBe(false)
    scene.run(10 * millisecond)
    expect([scene.router.table.size, scene.mapper.stopped, scene.mapper.nextTimeout(), scene.count('portmap_removed')]).toEqual([0, true, never, 2])
    expect(scene.told.slice(2).sort()).toEqual(['unmapped tcp removed', 'unmapped udp removed'])
  })

  it('shutdown waits no longer than a second for a router that is gone, and not at all without a mapping', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] }).join().run(second)
    scene.router.speaks = new Set()
    scene.act(() => scene.mapper.shutdown(scene.now))
    scene.run(999 * millisecond)
    expect(scene.mapper.stopped).toBe(false)
    expect(scene.run(millisecond).mapper.stopped).toBe(true)
    const searching = new PortMapScene({ speaks: [] }).join()
    searching.act(() => searching.mapper.shutdown(searching.now))
    expect([searching.mapper.stopped, searching.mapper.nextTimeout()]).toEqual([true, never])
  })

  it('a life that crashed is taken over: the nonce of PCP is the same, so are the ports', () => {
    const scene = new PortMapScene({ speaks: ['pcp'], taken: ['udp 7000'] }).join().run(second)
    const before = [...scene.router.table]
    const next = new PortMapScene({ speaks: ['pcp'] }, { seed: 2 })
    for (const [key, entry] of before) next.router.table.set(key, entry)
    expect(next.join().run(second).mapped).toEqual(scene.mapped)
    expect([...next.router.table]).toEqual(before)
  })
})

describe('when things change', () => {
  it('another network: what was mapped is not told any more, and the new router is asked', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] }).join().run(second)
    scene.act(() => scene.mapper.setGateway(scene.now, scene.gateway))
    expect(scene.told).toHaveLength(1)
    scene.act(() => scene.mapper.setGateway(scene.now, undefined))
    expect([scene.told.slice(1), scene.mapper.nextTimeout()]).toEqual([['unmapped udp network'], never])
    scene.join().run(second)
    expect(scene.told.slice(2)).toEqual(['mapped udp 11.0.0.11:7000 pcp'])
    expect(scene.count('portmap_network_changes')).toBe(1)
  })

  it.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: a router that began anew says so, and gets its mappings back within 5 s', (protocol) => {
    for (let seed = 1; seed <= 20; seed++) {
      const scene = new PortMapScene({ speaks: [protocol] }, { seed, tcp: true }).join().run(2 * minute)
      scene.router.reboot(scene.seconds - 1)
      // As routers do: several times over.
      for (let i = 0; i < 10; i++) {
        for (const bytes of scene.router.announcements(scene.seconds)) scene.receive('announcement', scene.router.address, 5351, bytes)
        scene.run(100 * millisecond)
      }
      scene.run(4.1 * second)
      expect(scene.router.table.size, `seed ${seed}`).toBe(2)
      // UPnP has no clock to compare with: what comes after the answer to the first announcement counts as another one.
      expect(scene.count('portmap_router_restarts'), `seed ${seed}`).toBeLessThanOrEqual(protocol === 'upnp' ? 2 : 1)
    }
  })

  it('nat-pmp: a router that announces itself by PCP alone is heard', () => {
    const scene = new PortMapScene({ speaks: ['nat-pmp'] }).join().run(2 * minute)
    scene.router.reboot(scene.seconds)
    scene.receive('announcement', scene.router.address, 5351, scene.router.announcements(scene.seconds)[0]!)
    scene.run(5.1 * second)
    expect([scene.router.table.size, scene.count('portmap_router_restarts')]).toEqual([1, 1])
  })

  it('a clock that goes on as it should is no restart, whatever is announced', () => {
    for (const protocol of ['pcp', 'nat-pmp'] as const) {
      const scene = new PortMapScene({ speaks: [protocol] }).join().run(second)
      for (let i = 0; i < 20; i++) {
        for (const bytes of scene.router.announcements(scene.seconds)) scene.receive('announcement', scene.router.address, 5351, bytes)
        scene.run(15 * second)
      }
      expect([scene.count('portmap_router_restarts'), scene.mapTimes.length]).toEqual([0, 1])
    }
  })

  it('a restart is noticed by the clock in a renewal as well: the other mapping is made again', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] }, { tcp: true }).join().run(2 * minute)
    scene.router.reboot(scene.seconds)
    scene.run(12.5 * minute + 10 * second)
    expect([scene.router.table.size, scene.count('portmap_router_restarts')]).toEqual([2, 1])
  })

  it('a router that comes up while we rest is asked again', () => {
    const scene = new PortMapScene({ speaks: [] }).join().run(20 * second)
    scene.router.speaks = new Set(['pcp'])
    for (const bytes of scene.router.announcements(scene.seconds)) scene.receive('announcement', scene.router.address, 5351, bytes)
    scene.run(6 * second)
    expect(scene.mapped).toEqual(['udp 11.0.0.11:7000'])
  })

  it('forged announcements make it ask once in 30 s, and no more', () => {
    const scene = new PortMapScene({ speaks: ['pcp'] }).join().run(second)
    for (let i = 0; i < 3000; i++) {
      scene.receive('announcement', scene.router.address, 5351, scene.router.announcements(scene.seconds + (i % 2) * 100_000)[0]!)
      scene.run(100 * millisecond)
    }
    expect(scene.mapTimes.length).toBeGreaterThan(5)
    expect(scene.mapTimes.length).toBeLessThanOrEqual(13)
  })
})

it('asks nobody but the gateway and the group, from beginning to end', () => {
  const scene = new PortMapScene({ speaks: ['upnp'] }).join().run(minute)
  const hosts = new Set(scene.sent.map((action) => decodeAddress(action.kind === 'http' ? action.url.address : action.to).host))
  expect([...hosts].sort()).toEqual(['192.168.1.1', '239.255.255.250'])
})
