import { expect, it } from 'vitest'
import { encodeAddress } from '../../src/core/base/address.ts'
import { never } from '../../src/core/base/time.ts'
import type { EndpointEvent, MessageBatch, ReleaseBatch } from '../../src/core/endpoint/contract.ts'
import { SimNetwork } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import { SimNode, type SimApp } from '../../src/sim/sim-node.ts'
import { SimProvider } from '../../src/sim/sim-provider.ts'

class App implements SimApp {
  events: EndpointEvent[] = []
  got: string[] = []
  onMessages(node: SimNode, batch: MessageBatch): void {
    for (let i = 0; i < batch.count; i++) {
      this.got.push(Buffer.from(node.endpoint.arena.bytes.subarray(batch.offset[i]!, batch.offset[i]! + batch.length[i]!)).toString())
      node.endpoint.consume(node.now(), batch.channel[i] as never, batch.length[i]! + 32)
    }
  }
  onReleases(_node: SimNode, _batch: ReleaseBatch): void { /* */ }
  onEvent(node: SimNode, event: EndpointEvent): void {
    this.events.push(event)
    if (event.kind === 'channel-incoming') node.endpoint.acceptChannel(node.now(), event.channel, { credit: 1 << 20, consumer: 1, overflow: 'block' })
  }
}

it('two nodes talk', () => {
  const random = new SeededRandom(1)
  const scheduler = new Scheduler()
  const network = new SimNetwork(scheduler, random.fork())
  const make = (n: number, host: string): { node: SimNode; app: App } => {
    const provider = new SimProvider(random.fork())
    const node = new SimNode({ scheduler, network, provider, seed: new Uint8Array(32).fill(n), address: encodeAddress(host, 7000)!, config: { admitStrangers: true } })
    const app = new App()
    node.app = app
    return { node, app }
  }
  const a = make(1, '10.0.0.1')
  const b = make(2, '10.0.0.2')
  const peer = a.node.act((e, now) => e.connect(now, b.node.endpoint.id, { addresses: [b.node.address], now: true }))!
  scheduler.run(1e6)
  console.log(a.app.events, b.app.events)
  const ch = a.node.act((e, now) => e.openChannel(now, peer, { app: 'x', mode: 'reliable-ordered', lane: 'normal', weight: 1, overflow: 'block', meta: new Uint8Array(0), credit: 1 << 20, consumer: 1 }))
  expect(typeof ch).toBe('number')
  const results = a.node.act((e, now) => [1, 2, 3].map((i) => e.send(now, ch as never, { bytes: Buffer.from('hello' + i), offset: 0, length: 6, lane: 255, tag: 0, confirm: false, deadline: never })))
  scheduler.run(1e6)
  console.log(results, b.app.got, a.app.events.slice(2), b.app.events.slice(2), a.node.endpoint.peerStats(peer), a.node.endpoint.counters())
  expect(b.app.got).toEqual(['hello1', 'hello2', 'hello3'])
})
