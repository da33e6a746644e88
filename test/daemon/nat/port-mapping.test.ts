/** The driver, the mapper and the daemon's part between them, against routers of our own on loopback: none of this leaves the machine. */
import { createServer, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { minute } from '../../../src/core/base/time.ts'
import type { HttpUrl } from '../../../src/core/wire/http-url.ts'
import { parseHttpUrl } from '../../../src/core/wire/http-url.ts'
import type { Gateway, HttpOutcome } from '../../../src/core/wire/port-map-io.ts'
import { PortMapping, portMappingEnabled } from '../../../src/daemon/nat/port-mapping.ts'
import { PortMapDriver, type PortMapDriverOptions } from '../../../src/net/portmap/driver.ts'
import { askRouter } from '../../../src/net/portmap/http.ts'
import { Clock } from '../../../src/platform/clock.ts'
import { repeated } from '../../support/bytes.ts'
import { host } from '../../support/home-router.ts'
import { LoopbackRouter } from '../../support/loopback-router.ts'
import { node } from '../../support/providers.ts'

// Whoever runs the tests may have switched it off; here it is the tests' own routers that are asked.
delete process.env['POSTERN_PORTMAP']

/** Addresses of loopback that no other test listens on. */
let last = 0
const nextAddress = (): string => `127.35.${process.pid % 250}.${++last}`

const LOCAL = '127.0.0.1'

class Scene implements AsyncDisposable {
  readonly router: LoopbackRouter
  readonly mapping: PortMapping
  readonly log: string[] = []
  #gateway: Gateway | undefined

  constructor(router: LoopbackRouter, options: PortMapDriverOptions = {}) {
    this.router = router
    this.#gateway = { router: host(router.model.address), local: host(LOCAL) }
    this.mapping = new PortMapping({
      config: { portmap: { enabled: true, lifetime: 20 * minute }, udp: { port: 0, bind: ['::'], advertise: [], receiveBuffer: 0, mtuDiscovery: false, guessPorts: true } }, clock: new Clock(), provider: node, secret: repeated(7),
      log: { info: (text) => this.#says(text) }, driver: { readGateway: () => Promise.resolve(this.#gateway), watchPauseMs: 20, httpTimeoutMs: 300, ...options },
    })
    this.mapping.start(new Map([['udp', 7000]]))
  }

  #says(text: string): void {
    this.log.push(text)
  }

  moveTo(router: string | undefined): void {
    this.#gateway = router === undefined ? undefined : { router: host(router), local: host(LOCAL) }
  }

  get external(): string | undefined {
    const external = this.mapping.external.get('udp')
    return external === undefined ? undefined : formatAddress(external)
  }

  async until(holds: () => boolean): Promise<void> {
    const end = performance.now() + 20_000
    while (!holds()) {
      if (performance.now() > end) throw new Error(`waited in vain: ${JSON.stringify(this.mapping.status())} ${this.log.join(', ')}`)
      await sleep(5)
    }
  }

  count(name: string): number {
    return this.mapping.counters()[name] ?? -1
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mapping.close()
    await this.router[Symbol.asyncDispose]()
  }
}

describe('on real sockets', () => {
  it.each(['pcp', 'nat-pmp', 'upnp'] as const)('%s: maps, is told, and removes at the end', async (protocol) => {
    await using scene = new Scene(await LoopbackRouter.start(nextAddress(), { speaks: [protocol] }))
    await scene.until(() => scene.external !== undefined)
    expect([scene.external, scene.mapping.status()]).toMatchObject(['11.0.0.11:7000', { state: 'mapped', protocol, router: scene.router.model.address, mapped: [{ transport: 'udp', external: '11.0.0.11:7000' }] }])
    expect([...scene.router.model.table.values()]).toMatchObject([{ by: protocol, client: LOCAL, internalPort: 7000 }])
    await scene.mapping.close()
    expect([scene.router.model.table.size, scene.external, scene.mapping.status().state]).toEqual([0, undefined, 'stopped'])
    expect(scene.log).toEqual(['port mapped', 'port not mapped any more'])
  })

  it('another gateway: the old mapping is not told any more, the new router is asked', async () => {
    await using scene = new Scene(await LoopbackRouter.start(nextAddress(), { speaks: ['pcp'] }))
    await using other = await LoopbackRouter.start(nextAddress(), { speaks: ['nat-pmp'], external: '11.0.0.12' })
    await scene.until(() => scene.external === '11.0.0.11:7000')
    scene.moveTo(undefined)
    await scene.until(() => scene.external === undefined)
    expect(scene.mapping.status().state).toBe('off')
    scene.moveTo(other.model.address)
    await scene.until(() => scene.external === '11.0.0.12:7000')
  })

  it('a socket that does not listen where the router would send to asks for nothing', async () => {
    await using router = await LoopbackRouter.start(nextAddress())
    const mapping = new PortMapping({
      config: { portmap: { enabled: true, lifetime: minute }, udp: { port: 0, bind: ['127.0.0.2'], advertise: [], receiveBuffer: 0, mtuDiscovery: false, guessPorts: true } }, clock: new Clock(), provider: node, secret: repeated(7),
      log: { info: () => undefined }, driver: { readGateway: () => Promise.resolve({ router: host(router.model.address), local: host(LOCAL) }), watchPauseMs: 5 },
    })
    mapping.start(new Map([['udp', 7000]]))
    await sleep(100)
    expect([mapping.status().state, router.model.asked]).toEqual(['off', []])
    await mapping.close()
  })

  it('is switched off by the configuration and by the environment', () => {
    const portmap = { enabled: true, lifetime: minute }
    expect([portMappingEnabled(portmap, {}), portMappingEnabled(portmap, { POSTERN_PORTMAP: '0' }), portMappingEnabled({ ...portmap, enabled: false }, {})]).toEqual([true, false, false])
  })
})

describe('a hostile web server of the router', () => {
  /** Every request of the mapper, or of `askRouter`, gets this. */
  const answers: readonly (readonly [string, (response: ServerResponse) => void, string, Partial<HttpOutcome> & Record<string, unknown>])[] = [
    ['a description without end', (response) => {
      response.writeHead(200, { 'content-type': 'text/xml' })
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      }
      response.on('drain', more)
      more()
    }, 'portmap_upnp_oversized', { kind: 'failed', reason: 'oversized' }],
    ['64 KiB and one byte', (response) => void response.end('x'.repeat(65_537)), 'portmap_upnp_oversized', { kind: 'failed', reason: 'oversized' }],
    ['headers without end', (response) => {
      response.socket!.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(5000)}`)
    }, 'portmap_upnp_oversized', { kind: 'failed', reason: 'oversized' }],
    ['one byte at a time', (response) => {
      response.writeHead(200)
      const timer = setInterval(() => void response.write(' '), 20)
      response.on('close', () => clearInterval(timer))
    }, 'portmap_upnp_timeouts', { kind: 'failed', reason: 'timeout' }],
    ['silence', () => undefined, 'portmap_upnp_timeouts', { kind: 'failed', reason: 'timeout' }],
    ['a cut', (response) => void response.socket!.destroy(), 'portmap_upnp_broken', { kind: 'failed', reason: 'broken' }],
    ['less than it promised', (response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('<root>')
      setTimeout(() => response.socket!.destroy(), 20)
    }, 'portmap_upnp_broken', { kind: 'failed', reason: 'broken' }],
    ['no HTTP', (response) => void response.socket!.end('hello\r\n\r\n'), 'portmap_upnp_broken', { kind: 'failed', reason: 'broken' }],
    ['two lengths', (response) => void response.socket!.end('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx'), 'portmap_upnp_broken', { kind: 'failed', reason: 'broken' }],
    ['no XML', (response) => void response.end('<html><br></html>'), 'portmap_upnp_broken', { kind: 'answer', status: 200 }],
  ]

  it.each(answers)('%s: counted, and nothing is mapped', async (_, respond, counter, expected) => {
    await using scene = new Scene(await LoopbackRouter.start(nextAddress(), { speaks: ['upnp'] }))
    scene.router.web = (_request, response) => {
      respond(response)
      return true
    }
    await scene.until(() => scene.count(counter) > 0)
    expect([scene.external, scene.count('portmap_http_requests')]).toEqual([undefined, 1])
    const { address, httpPort } = scene.router.model
    const url = parseHttpUrl(`http://${address}:${httpPort}/`)!
    const before = performance.now()
    expect(await ask(url)).toMatchObject(expected)
    expect(performance.now() - before).toBeLessThan(5000)
  })

  const ask = (url: HttpUrl): Promise<HttpOutcome> => askRouter({ url, soap: undefined, from: LOCAL, timeoutMs: 300, signal: new AbortController().signal })

  it('a redirect is an answer, and the place it names is never visited', async () => {
    let visits = 0
    const elsewhere = createServer((_request, response) => {
      visits++
      response.end()
    }).listen(0, '127.0.0.1')
    await once(elsewhere, 'listening')
    const victim = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`
    for (const status of [301, 302, 303, 307, 308]) {
      await using scene = new Scene(await LoopbackRouter.start(nextAddress(), { speaks: ['upnp'] }))
      scene.router.web = (_request, response) => {
        response.writeHead(status, { location: victim }).end()
        return true
      }
      await scene.until(() => scene.count('portmap_upnp_redirects') === 1)
    }
    expect(visits).toBe(0)
    elsewhere.close()
  })

  it('what the description puts on another host is never asked', async () => {
    let visits = 0
    const elsewhere = createServer((_request, response) => {
      visits++
      response.end()
    }).listen(0, '127.0.0.1')
    await once(elsewhere, 'listening')
    await using scene = new Scene(await LoopbackRouter.start(nextAddress(), { speaks: ['upnp'], controlUrl: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/ctl` }))
    await scene.until(() => scene.count('portmap_upnp_foreign') === 1)
    expect([visits, scene.count('portmap_http_requests')]).toEqual([0, 1])
    elsewhere.close()
  })

  it('an aborted request is over at once, and a refused one is broken', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const url = parseHttpUrl(`http://127.0.0.1:${(silent.address() as AddressInfo).port}/`)!
    const abort = new AbortController()
    const asked = askRouter({ url, soap: undefined, from: LOCAL, timeoutMs: 60_000, signal: abort.signal })
    setTimeout(() => abort.abort(), 20)
    expect(await asked).toEqual({ kind: 'failed', reason: 'broken' })
    silent.closeAllConnections()
    await new Promise((resolve) => silent.close(resolve))
    expect(await ask(url)).toEqual({ kind: 'failed', reason: 'broken' })
  })

  it('more than four requests at a time are not made', async () => {
    await using router = await LoopbackRouter.start(nextAddress())
    let running = 0
    router.web = () => {
      running++
      return true
    }
    const outcomes: HttpOutcome[] = []
    const driver = new PortMapDriver({ gateway: () => undefined, received: () => undefined, answered: (_token, outcome) => void outcomes.push(outcome) }, { readGateway: () => Promise.resolve({ router: host(router.model.address), local: host(LOCAL) }), httpTimeoutMs: 200 })
    driver.start()
    await sleep(10)
    for (let i = 0; i < 10; i++) driver.request(i, parseHttpUrl(`http://${router.model.address}:${router.model.httpPort}/`)!, undefined)
    while (outcomes.length < 10) await sleep(10)
    driver.close()
    expect([running, outcomes.filter(({ kind }) => kind === 'failed').length]).toEqual([4, 10])
  })
})
