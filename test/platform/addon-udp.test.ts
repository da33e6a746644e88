import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import type { AddonUdp } from '../../src/platform/addon.ts'
import { addon } from '../support/addon.ts'

/** A socket on loopback, as plain JavaScript for a process or worker of its own: `open(callback)` returns what one needs to use it. */
const harness = `
  const addon = require(${JSON.stringify(addon?.path)})
  const open = (callback, features = 15) => {
    const arena = new Uint8Array(1 << 20), local = new Uint8Array(18), facts = new Int32Array(3)
    const address = Uint8Array.of(0,0,0,0,0,0,0,0,0,0,255,255,127,0,0,1,0,0)
    const socket = addon.udpOpen(address, 4, features, 4 << 20, 4 << 20, local, facts)
    const length = new Int32Array(16), segmentSize = new Int32Array(16), offset = new Int32Array(16), rows = new Int32Array(8 * 64), addresses = new Uint8Array(18 * 64)
    addon.udpStart(socket, callback, arena, 0, 8 * 65536, new Uint8Array(18 * 16), offset, length, segmentSize, new Uint8Array(16), new Uint8Array(16), rows, addresses, new Int32Array(32), new Uint8Array(288))
    const row = (i, to, size, segment) => { rows.set([9 * 65536, size, segment, 0, 0, 0, 0, 0], 8 * i); addresses.set(to, 18 * i) }
    return { socket, arena, local, facts, offset, length, segmentSize, rows, row }
  }`

function run(script: string, environment: NodeJS.ProcessEnv = {}, flags: readonly string[] = []): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [...flags, '-e', `${harness}\n${script}`], { encoding: 'utf8', timeout: 60_000, env: { ...process.env, ...environment } })
}

function expectDone(child: SpawnSyncReturns<string>): void {
  expect([child.stderr, child.stdout, child.signal, child.status]).toEqual(['', 'done\n', null, 0])
}

describe.skipIf(addon?.udp === undefined)('the UDP sockets of the addon, and what they are put through', () => {
  const udp = addon?.udp as AddonUdp

  it('any arguments: an answer, a TypeError, or the system\'s error', async () => {
    const sockets: object[] = []
    const open = (): object => {
      const socket = udp.udpOpen(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1, 0, 0), 4, 111, 1 << 16, 1 << 16, new Uint8Array(18), new Int32Array(3))
      sockets.push(socket)
      return socket
    }
    const value = fc.oneof(
      fc.constant(undefined), fc.constant(null), fc.integer(), fc.nat({ max: 20 }), fc.constantFrom(4, 6, 0, 65_536, 524_288), fc.double(), fc.string(), fc.constant({}),
      fc.constantFrom(18, 288, 600_000).map((size) => new Uint8Array(size)), fc.constantFrom(3, 16, 512).map((size) => new Int32Array(size)),
      fc.constant(() => undefined), fc.constant(0).map(() => (sockets.length < 50 ? open() : sockets[sockets.length >> 1])),
    )
    fc.assert(fc.property(fc.constantFrom('udpOpen', 'udpStart', 'udpSend', 'udpClose', 'udpFeatures'), fc.array(value, { maxLength: 16 }), (name, args) => {
      try {
        (udp[name] as (...given: unknown[]) => unknown)(...args)
      } catch (error) {
        if (!(error instanceof TypeError)) expect(error).toHaveProperty('code')
      }
    }), { numRuns: 3000 })
    // Rows of any content: nothing outside the arena is read.
    const socket = open()
    const [arena, rows, addresses] = [new Uint8Array(70_000), new Int32Array(64), new Uint8Array(144)]
    udp.udpStart(socket, () => undefined, arena, 0, 65_536, new Uint8Array(288), new Int32Array(16), new Int32Array(16), new Int32Array(16), new Uint8Array(16), new Uint8Array(16), rows, addresses, new Int32Array(32), new Uint8Array(288))
    const int = fc.oneof(fc.integer(), fc.nat({ max: 70_000 }), fc.nat({ max: 64 }))
    fc.assert(fc.property(fc.array(int, { minLength: 64, maxLength: 64 }), fc.uint8Array({ minLength: 144, maxLength: 144 }), fc.nat({ max: 9 }), fc.nat({ max: 9 }), (ints, bytes, head, count) => {
      rows.set(ints)
      for (let i = 0; i < 144; i += 18) addresses.set([...bytes.subarray(i, i + 10), 255, 255, 127, 0, 0, 1, bytes[i + 16]!, bytes[i + 17]!], i)
      if (bytes[0]! < 200) for (let i = 0; i < 144; i += 18) addresses.fill(0, i, i + 10)
      const done = udp.udpSend(socket, head, count)
      expect(done).toBeGreaterThanOrEqual(0)
      expect(done).toBeLessThanOrEqual(count)
    }), { numRuns: 500 })
    for (const one of sockets) udp.udpClose(one)
    await new Promise((resolve) => setTimeout(resolve, 20))
  })

  it('starts once, closes once, and sends nothing before or after', () => {
    expectDone(run(`
      const events = []
      const a = open((...event) => events.push(event))
      a.row(0, a.local, 100, 100)
      try { addon.udpStart(a.socket, () => 0, a.arena, 0, 65536, new Uint8Array(18), new Int32Array(1), new Int32Array(1), new Int32Array(1), new Uint8Array(1), new Uint8Array(1), a.rows, new Uint8Array(18), new Int32Array(32), new Uint8Array(288)) } catch (error) { if (error.code !== 'EINVAL') throw error }
      addon.udpClose(a.socket)
      addon.udpClose(a.socket)
      if (addon.udpSend(a.socket, 0, 1) !== 0) throw new Error('sent')
      process.on('exit', () => console.log(events.length === 1 && events[0][0] === 3 ? 'done' : JSON.stringify(events)))`))
  })

  it('is closed in its own callback, with more to come', () => {
    expectDone(run(`
      let calls = 0
      const b = open((event) => { if (event === 0) { calls++; addon.udpClose(b.socket) } })
      const a = open(() => 0)
      for (let i = 0; i < 60; i++) a.row(i, b.local, 100 + i, 100 + i)
      addon.udpSend(a.socket, 0, 60)
      setTimeout(() => { addon.udpClose(a.socket); console.log(calls === 1 ? 'done' : calls) }, 50)`))
  })

  it('what its callback throws is an uncaught exception, and it goes on', () => {
    expectDone(run(`
      let calls = 0, caught = 0
      process.on('uncaughtException', () => caught++)
      const b = open((event) => { if (event === 0) { calls++; throw new Error('mine') } })
      const a = open(() => 0)
      const send = () => { a.row(0, b.local, 100, 100); addon.udpSend(a.socket, 0, 1) }
      send()
      const timer = setInterval(() => {
        if (calls === 1) return send()
        if (calls < 2 || caught < 2) return
        clearInterval(timer)
        addon.udpClose(a.socket)
        addon.udpClose(b.socket)
        console.log('done')
      }, 20)`))
  })

  it('an arena that was taken away is an error, not memory that is not ours', () => {
    expectDone(run(`
      const b = open((event, value) => { if (event === 2) { addon.udpClose(b.socket); addon.udpClose(a.socket); console.log(value === -14 ? 'done' : value) } else if (event !== 3) console.log('event', event) })
      const a = open(() => 0)
      structuredClone(b.arena.buffer, { transfer: [b.arena.buffer] })
      a.row(0, b.local, 100, 100)
      addon.udpSend(a.socket, 0, 1)`))
  })

  it('collections and open sockets at the end of the process change nothing', () => {
    expectDone(run(`
      let received = 0
      for (let i = 0; i < 20; i++) addon.udpOpen(Uint8Array.of(0,0,0,0,0,0,0,0,0,0,255,255,127,0,0,1,0,0), 4, 15, 65536, 65536, new Uint8Array(18), new Int32Array(3))
      const target = () => { let own; own = open((event, rows) => { gc(); for (let i = 0; event === 0 && i < rows; i++) received += Math.ceil(own.length[i] / own.segmentSize[i]) }); return own.local }
      const to = target()
      const a = open(() => 0)
      let left = 50
      const send = () => { gc(); a.row(0, to, 640, 64); addon.udpSend(a.socket, 0, 1); if (left-- > 0) setTimeout(send, 1) }
      setTimeout(() => { console.log(received); process.exit(1) }, 20_000)
      setInterval(() => { if (received === 510) { console.log('done'); process.exit(0) } }, 10)
      send()`, {}, ['--expose-gc']))
  })

  it('a worker that is terminated in the middle of traffic takes nothing with it', async () => {
    for (let i = 0; i < 6; i++) {
      const worker = new Worker(`${harness}
        const b = open((event) => { if (event === 0) a.row(0, b.local, 6400, 64), addon.udpSend(a.socket, 0, 1) })
        const a = open(() => 0)
        a.row(0, b.local, 6400, 64)
        addon.udpSend(a.socket, 0, 1)
        require('node:worker_threads').parentPort.postMessage('running')`, { eval: true })
      await once(worker, 'message')
      await new Promise((resolve) => setTimeout(resolve, 5 * i))
      await worker.terminate()
    }
  })
})

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0)
if (compiler === undefined) console.warn('test/platform: no C compiler: the tests of a refusing kernel are skipped')

describe.skipIf(addon?.udp === undefined || compiler === undefined || process.platform !== 'linux')('a kernel that refuses', () => {
  const directory = mkdtempSync(join(tmpdir(), 'postern-kernel-'))
  const shim = join(directory, 'kernel.so')
  if (compiler !== undefined) spawnSync(compiler, ['-shared', '-fPIC', '-O1', '-o', shim, fileURLToPath(new URL('../support/refusing-kernel.c', import.meta.url))])
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  const { EIO, EINVAL, EMSGSIZE, ENOBUFS, EPERM } = constants.errno

  /** Sends `bursts` of ten datagrams and prints what became of them. */
  const bursts = (count: number): string => `
    let received = 0
    const b = open((event, rows) => { if (event === 0) for (let i = 0; i < rows; i++) received += Math.ceil(b.length[i] / b.segmentSize[i]) })
    let next = 0
    const flush = () => { next += addon.udpSend(a.socket, next, ${count} - next) }
    const a = open((event) => { if (event === 1) flush() })
    for (let i = 0; i < ${count}; i++) a.row(i, b.local, 640, 64)
    flush()
    const until = Date.now() + 10_000
    setInterval(() => {
      if (Date.now() < until && (next < ${count} || received < sum(4))) return
      console.log(JSON.stringify({ done: next, received, sent: sum(4), bytes: sum(5), failed: sum(6), error: a.rows[7], gso: addon.udpFeatures(a.socket) & 1 }))
      process.exit(0)
    }, 10)
    function sum(column) { let total = 0; for (let i = 0; i < ${count}; i++) total += a.rows[8 * i + column]; return total }`
  const outcome = (refuse: string, count = 20): unknown => {
    const child = run(bursts(count), { LD_PRELOAD: [process.env['LD_PRELOAD'] ?? '', shim].join(' ').trim(), REFUSE: refuse })
    expect(child.stderr).toBe('')
    return JSON.parse(child.stdout)
  }

  it('bursts, because the way out cannot cut them (EIO): they go one by one, and no other is tried', () => {
    expect(outcome(`gso=${EIO}`)).toEqual({ done: 20, received: 200, sent: 200, bytes: 12_800, failed: 0, error: 0, gso: 0 })
  })

  it('bursts it knows nothing of (EINVAL): they go one by one, and after some no other is tried', () => {
    expect(outcome(`gso=${EINVAL}`, 10)).toEqual({ done: 10, received: 100, sent: 100, bytes: 6400, failed: 0, error: 0, gso: 1 })
    expect(outcome(`gso=${EINVAL}`, 60)).toEqual({ done: 60, received: 600, sent: 600, bytes: 38_400, failed: 0, error: 0, gso: 0 })
  })

  it('some calls, being full (EAGAIN): all go, in the end', () => {
    expect(outcome('every=2', 60)).toEqual({ done: 60, received: 600, sent: 600, bytes: 38_400, failed: 0, error: 0, gso: 1 })
  })

  it.each([['ENOBUFS', ENOBUFS], ['EPERM', EPERM], ['EMSGSIZE', EMSGSIZE]])('everything (%s): each datagram has failed, and it goes on', (_name, errno) => {
    expect(outcome(`all=${errno}`)).toEqual({ done: 20, received: 0, sent: 0, bytes: 0, failed: 200, error: -errno, gso: 1 })
  })
})
