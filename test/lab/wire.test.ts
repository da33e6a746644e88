import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Program } from '../e2e/support/program.ts'
import { whyNoWire, Wire } from './wire.ts'

const why = whyNoWire()

const ECHO = `const s = require('node:dgram').createSocket('udp4').bind(7, '0.0.0.0', () => console.log('listening'))
s.on('message', (m, from) => s.send(m, from.port, from.address))`

/** Sends so many datagrams of so many bytes, one every 5 ms, and prints how many came back within a second and the least time that took. */
const ASK = `const [host, count, size] = process.argv.slice(1)
const s = require('node:dgram').createSocket('udp4')
const sent = []
let received = 0, least = Infinity, n = 0
s.on('message', (m) => { received++; least = Math.min(least, performance.now() - sent[m.readUInt32LE(0)]) })
const timer = setInterval(() => {
  if (n === Number(count)) { clearInterval(timer); setTimeout(() => { console.log(JSON.stringify({ received, least })); s.close() }, 1000); return }
  const m = Buffer.alloc(Number(size)); m.writeUInt32LE(n, 0); sent[n++] = performance.now(); s.send(m, 7, host)
}, 5)`

async function ask(wire: Wire, count: number, size: number): Promise<{ readonly received: number; readonly least: number }> {
  const [a, b] = wire.machines
  await using program = new Program([process.execPath, '-e', ASK, b.address, `${count}`, `${size}`], { prefix: a.prefix })
  return JSON.parse((await program.ended).out) as { readonly received: number; readonly least: number }
}

describe.skipIf(why !== undefined)(`the wire of the lab${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('carries, delays, loses by its seed, and swallows what is too large', async () => {
    await using wire = await Wire.open(fileURLToPath(new URL('.', import.meta.url)))
    await using echo = new Program([process.execPath, '-e', ECHO], { prefix: wire.machines[1].prefix })
    await echo.says(/listening/)
    expect((await ask(wire, 20, 100)).received).toBe(20)
    await wire.impair({ delayMs: 15 })
    const delayed = await ask(wire, 10, 100)
    expect(delayed.received).toBe(10)
    expect(delayed.least).toBeGreaterThanOrEqual(30)
    await wire.impair({ delayMs: 0, loss: 50, seed: 3 })
    const lossy = await ask(wire, 100, 100)
    expect(lossy.received).toBeGreaterThan(5)
    expect(lossy.received).toBeLessThan(50)
    await wire.impair({ loss: 0, mtu: 600 })
    expect((await ask(wire, 5, 100)).received).toBe(5)
    expect((await ask(wire, 5, 1000)).received).toBe(0)
  })
})
