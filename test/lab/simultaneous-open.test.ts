import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Program } from '../e2e/support/program.ts'
import { addon } from '../support/addon.ts'
import { whyNoWire, Wire } from './wire.ts'

const why = addon?.tcp === undefined ? 'the native addon is missing' : whyNoWire()

/** Listens on 7000 and, at the given time, dials the other's 7000 from there. Prints what came of it. */
const PEER = `
import { createServer } from 'node:net'
import { loadAddon } from ${JSON.stringify(new URL('../../dist/platform/addon.js', import.meta.url).href)}
import { nativeTcpSystem } from ${JSON.stringify(new URL('../../dist/net/tcp-native.js', import.meta.url).href)}
const [host, at] = process.argv.slice(1)
const system = nativeTcpSystem(loadAddon().addon.tcp)
let accepted = 0
const server = createServer((socket) => { accepted++; socket.destroy() })
system.listen(server, { host: '0.0.0.0', port: 7000, ipv6Only: false, backlog: 8 }, () => {
  setTimeout(() => {
    const socket = system.connect({ host, port: 7000, localPort: 7000, noDelay: true, allowHalfOpen: true })
    socket.once('connect', () => socket.write(process.argv[1]))
    socket.once('error', (error) => { console.log(JSON.stringify({ error: error.code })); process.exit() })
    socket.once('data', (data) => {
      console.log(JSON.stringify({ accepted, heard: data.toString(), from: socket.remotePort, by: socket.localPort }))
      setTimeout(() => process.exit(), 300)
    })
  }, Number(at) - Date.now())
})`

describe.skipIf(why !== undefined)(`TCP between two listeners that dial each other${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('at the same moment is one connection, dialed by both and accepted by neither', async () => {
    await using wire = await Wire.open(fileURLToPath(new URL('.', import.meta.url)))
    const [a, b] = wire.machines
    // Long enough that each dial is on its way before the other arrives, on a busy machine too.
    await wire.impair({ delayMs: 400 })
    const at = `${Date.now() + 5_000}`
    const start = (prefix: readonly string[], other: string): Program => new Program([process.execPath, '--input-type=module', '-e', PEER, other, at], { prefix })
    await using first = start(a.prefix, b.address)
    await using second = start(b.prefix, a.address)
    const [near, far] = await Promise.all([first.ended, second.ended])
    expect([near.err, far.err]).toEqual(['', ''])
    expect(JSON.parse(near.out)).toEqual({ accepted: 0, heard: a.address, from: 7000, by: 7000 })
    expect(JSON.parse(far.out)).toEqual({ accepted: 0, heard: b.address, from: 7000, by: 7000 })
  })
})
