import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { hasNetwork, networkState, routeOf4, routeOf6 } from '../../src/net/network-state.ts'
import { NetworkWatch, type NetlinkAddon } from '../../src/net/network-watch.ts'
import { Program } from '../e2e/support/program.ts'
import { Lab, whyNoNamespaces } from '../lab/namespaces.ts'
import { addon } from '../support/addon.ts'

/** A kernel that the test plays. */
class PlayedKernel implements NetlinkAddon {
  news: ((gone: boolean) => void) | undefined
  refuses = false

  netlinkOpen(onNews: (gone: boolean) => void): object {
    if (this.refuses) throw new Error('EPERM')
    this.news = onNews
    return this
  }

  netlinkClose(): void {
    this.news = undefined
  }
}

afterEach(() => {
  vi.useRealTimers()
})

function played(): { readonly kernel: PlayedKernel; readonly told: number[]; readonly watch: NetworkWatch; state: string } {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })
  const kernel = new PlayedKernel()
  const told: number[] = []
  const all = { kernel, told, state: 'a', watch: undefined as unknown as NetworkWatch }
  all.watch = new NetworkWatch({ addon: kernel, onChange: () => told.push(performance.now()), state: () => all.state })
  return all
}

describe('a network watch with the word of the kernel', () => {
  it('tells a change once, when the messages about it have settled', () => {
    const all = played()
    for (let i = 0; i < 4; i++) {
      all.kernel.news!(false)
      vi.advanceTimersByTime(4)
    }
    all.state = 'b'
    vi.advanceTimersByTime(1_000)
    expect([all.watch.kind, all.told]).toEqual(['netlink', [20]])
    all.watch.close()
  })

  it('says nothing of what was only refreshed, and everything of what was gone, though all is as it was', () => {
    const all = played()
    all.kernel.news!(false)
    vi.advanceTimersByTime(500)
    expect(all.told).toEqual([])
    all.kernel.news!(true)
    all.kernel.news!(false)
    vi.advanceTimersByTime(500)
    expect(all.told).toHaveLength(1)
    all.kernel.news!(false)
    vi.advanceTimersByTime(500)
    expect(all.told).toHaveLength(1)
    all.watch.close()
  })

  it('tells at most eight times a second, and the last state always', () => {
    const all = played()
    for (let i = 0; i < 200; i++) {
      all.state = `${i}`
      all.kernel.news!(false)
      vi.advanceTimersByTime(10)
    }
    vi.advanceTimersByTime(1_000)
    expect(all.told.length).toBeGreaterThanOrEqual(15)
    for (let i = 8; i < all.told.length; i++) expect(all.told[i]! - all.told[i - 8]!).toBeGreaterThanOrEqual(1_000)
    expect(all.told.at(-1)).toBeGreaterThanOrEqual(2_000)
    all.watch.close()
  })

  it('tells what follows soon as soon: an address, then its route', () => {
    const all = played()
    for (const state of ['nothing', 'address', 'route']) {
      all.state = state
      all.kernel.news!(false)
      vi.advanceTimersByTime(60)
    }
    expect(all.told).toEqual([20, 80, 140])
    all.watch.close()
  })

  it('is silent after it was closed, also when a change was about to be told', () => {
    const all = played()
    all.kernel.news!(true)
    all.watch.close()
    vi.advanceTimersByTime(1_000)
    expect([all.told, all.kernel.news]).toEqual([[], undefined])
  })

  it('looks by itself where the kernel lends no ear', () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const kernel = new PlayedKernel()
    kernel.refuses = true
    let [state, told] = ['a', 0]
    for (const lent of [kernel, undefined]) {
      const watch = new NetworkWatch({ addon: lent, onChange: () => told++, state: () => state })
      expect(watch.kind).toBe('polling')
      vi.advanceTimersByTime(10_000)
      state += 'b'
      vi.advanceTimersByTime(2_000)
      watch.close()
      state += 'c'
      vi.advanceTimersByTime(10_000)
    }
    expect(told).toBe(2)
  })
})

describe('the state of the network', () => {
  it('is the same as long as nothing happens', () => {
    expect(networkState()).toBe(networkState())
  })

  it('is a network when there is an address besides loopback', () => {
    expect(hasNetwork()).toBe(Object.values(networkInterfaces()).flat().some((own) => own?.internal === false))
  })

  it('has of a route where it leads, and not how often it was used', () => {
    const four = 'eth0\t00000000\t0100A8C0\t0003\t7\t9\t100\t00000000\t0\t0\t0'.split('\t')
    expect(routeOf4(four)).toBe('eth0 00000000 0100A8C0 0003 100 00000000')
    expect(routeOf4('Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask'.split('\t'))).toBeUndefined()
    expect(routeOf4([''])).toBeUndefined()
    const six = (destination: string, name: string): string[] => [destination, '40', '0'.repeat(32), '00', '0'.repeat(32), '00000400', '00000003', '00000008', '00000001', name]
    expect(routeOf6(six('20010db8000000000000000000000000', 'eth0'))).toBe(`eth0 20010db8000000000000000000000000 40 ${'0'.repeat(32)} 00000400`)
    for (const [destination, name] of [['20010db8', 'lo'], ['fe80', 'eth0'], ['ff00', 'eth0']] as const) expect(routeOf6(six(destination, name))).toBeUndefined()
    expect(routeOf6([''])).toBeUndefined()
  })
})

/** Prints a line for each change; its argument is `netlink` or `polling`. */
const WATCHER = `
import { loadAddon } from ${JSON.stringify(new URL('../../dist/platform/addon.js', import.meta.url).href)}
import { NetworkWatch } from ${JSON.stringify(new URL('../../dist/net/network-watch.js', import.meta.url).href)}
let changes = 0
const addon = process.argv[1] === 'netlink' ? loadAddon().addon.netlink : undefined
const watch = new NetworkWatch({ addon, onChange: () => console.log('change ' + ++changes) })
console.log('watching by ' + watch.kind)
setInterval(() => {}, 1000)`

const why = whyNoNamespaces()
const kinds = (['netlink', 'polling'] as const).filter((kind) => kind === 'polling' || addon?.netlink !== undefined)

describe.skipIf(why !== undefined)(`on a machine${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it.each(kinds)('by %s: addresses and routes that come and go are told, what means nothing is not', async (kind) => {
    using lab = new Lab(1)
    const [machine] = lab.machines
    await using program = new Program([process.execPath, '--input-type=module', '-e', WATCHER, kind], { prefix: machine!.prefix })
    await program.says(new RegExp(`watching by ${kind}`))
    // Two or three messages of the kernel each.
    const steps = [
      ['ip', 'addr', 'add', '10.78.0.1/24', 'dev', 'eth0'], ['ip', 'route', 'add', 'default', 'via', '10.77.0.250'], ['ip', 'addr', 'add', '2001:db8::5/64', 'dev', 'eth0', 'nodad'],
      ['ip', 'route', 'del', 'default'], ['ip', 'addr', 'del', '10.78.0.1/24', 'dev', 'eth0'], ['ip', 'link', 'set', 'eth0', 'down'], ['ip', 'link', 'set', 'eth0', 'up'],
    ]
    // A look takes up to two seconds.
    for (const [i, step] of steps.slice(0, kind === 'netlink' ? steps.length : 4).entries()) {
      machine!.run(...step)
      await program.says(new RegExp(`change ${i + 1}\\n`))
      await sleep(300)
    }
    // An interface may get its carrier a moment after it was switched on.
    await sleep(1_500)
    const said = program.out
    machine!.run('ip', 'link', 'set', 'eth0', 'txqueuelen', '77')
    machine!.run('ip', 'neigh', 'add', '10.77.0.9', 'lladdr', '02:00:00:00:00:09', 'dev', 'eth0')
    await sleep(kind === 'netlink' ? 600 : 2_500)
    expect(program.out).toBe(said)
  }, 60_000)

  it.skipIf(addon?.netlink === undefined)('an address that was gone for a moment is told by netlink, though it is back', async () => {
    using lab = new Lab(1)
    const [machine] = lab.machines
    await using program = new Program([process.execPath, '--input-type=module', '-e', WATCHER, 'netlink'], { prefix: machine!.prefix })
    await program.says(/watching/)
    machine!.run('sh', '-c', 'ip addr del 10.77.0.1/24 dev eth0; ip addr add 10.77.0.1/24 dev eth0')
    await program.says(/change 1\n/)
  })
})

describe.skipIf(addon?.netlink === undefined)('the netlink socket of the addon', () => {
  it('takes a function, and closes what it made only', () => {
    const netlink = addon!.netlink!
    for (const value of [undefined, null, 1, {}, 'x']) expect(() => netlink.netlinkOpen(value as never)).toThrow(TypeError)
    for (const value of [undefined, null, 1, {}, () => undefined]) expect(() => netlink.netlinkClose(value as never)).toThrow(TypeError)
    const watch = netlink.netlinkOpen(() => undefined)
    netlink.netlinkClose(watch)
    netlink.netlinkClose(watch)
  })

  it('keeps no process alive, and is left behind by one that ends, by a worker that is terminated, by a collection', async () => {
    const open = `const addon = require(${JSON.stringify(addon!.path)}); `
    const script = `${open}
      const { Worker } = require('node:worker_threads')
      for (let i = 0; i < 50; i++) { const watch = addon.netlinkOpen(() => {}); if (i % 2) addon.netlinkClose(watch); gc() }
      const worker = new Worker(${JSON.stringify(`${open} addon.netlinkOpen(() => {}); require('node:worker_threads').parentPort.postMessage(1); setInterval(() => {}, 1000)`)}, { eval: true })
      worker.once('message', async () => { await worker.terminate(); console.log('done') })`
    await using program = new Program([process.execPath, '--expose-gc', '-e', script])
    expect(await program.ended).toMatchObject({ status: 0, out: 'done\n', err: '' })
  })
})
