import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { addon } from '../support/addon.ts'

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0)
if (compiler === undefined) console.warn('test/platform: no C compiler: the tests of the user channel are skipped')

// A process of its own: the kernel is played by what is loaded before libc.
describe.skipIf(addon === undefined || compiler === undefined || process.platform !== 'linux')('the user channel of the addon', () => {
  const directory = mkdtempSync(join(tmpdir(), 'postern-bluetooth-'))
  const shim = join(directory, 'kernel.so')
  if (compiler !== undefined) spawnSync(compiler, ['-shared', '-fPIC', '-O1', '-o', shim, fileURLToPath(new URL('../support/bluetooth-kernel.c', import.meta.url))])
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  const harness = `
    const addon = require(${JSON.stringify(addon?.path)})
    const { readdirSync, readSync, writeSync, closeSync } = require('node:fs')
    const descriptors = () => readdirSync('/proc/self/fd').length
    const turn = () => new Promise(setImmediate)
    const read = () => { const bytes = Buffer.alloc(5000); return bytes.subarray(0, readSync(100, bytes)) }`

  function run(kernel: string, script: string): SpawnSyncReturns<string> {
    const preload = [process.env['LD_PRELOAD'] ?? '', shim].join(' ').trim()
    return spawnSync(process.execPath, ['--expose-gc', '-e', `${harness}\n;(async () => { ${script} })()`], { encoding: 'utf8', timeout: 60_000, env: { ...process.env, LD_PRELOAD: preload, BLUETOOTH: kernel } })
  }

  function outcome(kernel: string, script: string): unknown {
    const child = run(kernel, script)
    expect([child.stderr, child.status], child.stdout).toEqual(['', 0])
    return JSON.parse(child.stdout)
  }

  it('carries packets both ways, whole and in order, and ends once when the controller goes', () => {
    expect(outcome('pair', `
      const got = []
      const channel = addon.hciOpen(0, 1, (packet) => got.push(typeof packet === 'number' ? packet : [packet.length, packet[0], packet.at(-1)]))
      const written = []
      for (let i = 1; i <= 300; i++) {
        if (addon.hciWrite(channel, new Uint8Array(i).fill(i)) !== 0) throw new Error('not written')
        const packet = read()
        written.push(packet.length === i && packet.every((byte) => byte === (i & 255)))
        writeSync(100, Buffer.alloc(i, i))
        if (i % 70 === 0) await turn()
      }
      while (got.length < 300) await turn()
      closeSync(100)
      while (got.length < 301) await turn()
      for (let i = 0; i < 20; i++) await turn()
      const broken = addon.hciWrite(channel, Uint8Array.of(1))
      addon.hciClose(channel)
      addon.hciClose(channel)
      await turn()
      console.log(JSON.stringify({ whole: written.every(Boolean) && got.slice(0, 300).every(([length, first, last], i) => length === i + 1 && first === (i + 1 & 255) && last === first), count: got.length, end: got[300], broken: broken > 0, closed: addon.hciWrite(channel, Uint8Array.of(1)) }))
    `)).toEqual({ whole: true, count: 301, end: 19, broken: true, closed: 9 })
  })

  it.each([[1, 'EPERM'], [16, 'EBUSY'], [19, 'ENODEV'], [87, 'EUSERS'], [132, 'ERFKILL']])('names what the kernel refuses with: %i is %s', (number, name) => {
    expect(outcome(`refuse=${number}`, `
      const before = descriptors()
      let code
      for (let i = 0; i < 50; i++) try { addon.hciOpen(0, 1, () => {}) } catch (error) { code = error.code }
      console.log(JSON.stringify({ code, more: descriptors() - before <= 1 }))
    `)).toEqual({ code: name, more: true })
  })

  it('keeps nothing of one that could not be started: no descriptor, no object, no callback', () => {
    expect(outcome('file', `
      const before = descriptors()
      let [code, collected] = ['', 0]
      const registry = new FinalizationRegistry(() => collected++)
      for (let i = 0; i < 200; i++) {
        const callback = () => {}
        registry.register(callback, i)
        try { addon.hciOpen(0, 1, callback) } catch (error) { code = error.code }
      }
      const open = descriptors() - before
      for (let i = 0; i < 100 && collected < 199; i++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      console.log(JSON.stringify({ code, open, collected: collected >= 199 }))
    `)).toEqual({ code: 'EPERM', open: 0, collected: true })
  })

  it('is closed with its worker, and collected when nobody has it', () => {
    const child = run('pair', `
      const { Worker } = require('node:worker_threads')
      for (let i = 0; i < 5; i++) {
        const worker = new Worker('const addon = require(' + JSON.stringify(${JSON.stringify(addon?.path)}) + '); addon.hciOpen(0, 1, () => {}); require("node:worker_threads").parentPort.postMessage(1)', { eval: true })
        await new Promise((resolve) => worker.once('message', resolve))
        for (let n = 0; n < 20; n++) writeSync(100, Buffer.alloc(100, n))
        await worker.terminate()
        closeSync(100)
      }
      const before = descriptors()
      for (let i = 0; i < 50; i++) {
        addon.hciClose(addon.hciOpen(0, 1, () => {}))
        await turn()
        closeSync(100)
      }
      gc()
      console.log(JSON.stringify(descriptors() - before <= 1))
    `)
    expect([child.stderr, child.stdout, child.signal, child.status]).toEqual(['', 'true\n', null, 0])
  })
})
