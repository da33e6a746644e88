// Two daemons on two controllers of the kernel, as people have them: `node nodes.mjs SUITE hci|bluez hci0 hci1`. They are paired by comparing a code, talk by Bluetooth,
// lose each other when one is restarted, and know each other again by the hint.
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '../../dist/client/client.js'

const [suite, backend, ...adapters] = process.argv.slice(2)
/** Through bluetoothd every value is two round trips on a bus, and every instruction is translated. */
const plan = backend === 'bluez' ? { bytes: 8_000, pings: 5 } : { bytes: 40_000, pings: 20 }
const MESSAGE_SIZE = 2_000
const LOOK_MS = 50
const PATIENCE_MS = 60_000
/** Before the guest ends it without a word. Ten seconds are usual for a start where nothing else runs, a minute and more where much does. */
const WHOLE_MS = 170_000
const told = []
const started = performance.now()
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

class Node {
  constructor(directory, adapter) {
    this.dir = join(directory, adapter)
    this.adapter = adapter
    this.log = ''
    mkdirSync(this.dir, { mode: 0o700 })
    writeFileSync(join(this.dir, 'postern.toml'), `[udp]\nbind = ["127.0.0.1"]\n[path]\nonly = "ble"\n[ble]\nenabled = "on"\nbackend = "${backend}"\nadapter = "${adapter}"\nstrangers = true\n[log]\nlevel = "debug"\n`, { mode: 0o600 })
  }

  async start() {
    const daemon = fileURLToPath(new URL('../../dist/daemon/main.js', import.meta.url))
    this.child = spawn(process.execPath, [daemon, '--dir', this.dir], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: { ...process.env, POSTERN_STUN: '0', POSTERN_PORTMAP: '0' } })
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => { this.log = (this.log + text).slice(-200_000) })
    const ready = await new Promise((resolve, reject) => {
      this.child.once('message', resolve)
      this.child.once('exit', (code) => reject(new Error(`${this.adapter}: posternd ended with ${code}`)))
    })
    if (ready.kind !== 'ready') throw new Error(`${this.adapter}: posternd failed`)
    this.peerId = ready.peerId
    this.client = await connect({ dir: this.dir, name: 'ble-kernel' })
    await until(async () => (await this.client.bleStatus()).state === 'on', async () => `${this.adapter}: no Bluetooth: ${(await this.client.bleStatus()).reason}`)
  }

  async stop() {
    await this.client?.close()
    if (this.child === undefined || this.child.exitCode !== null) return
    const ended = new Promise((resolve) => void this.child.once('exit', resolve))
    this.child.kill('SIGTERM')
    await ended
  }

  async pathTo(peer) {
    const found = (await this.client.peers()).find(({ id }) => id === peer.peerId)
    return found?.state === 'connected' ? found.path?.split(' ')[0] : undefined
  }
}

async function until(holds, what) {
  const end = performance.now() + PATIENCE_MS
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(typeof what === 'string' ? `${what} did not happen within ${PATIENCE_MS / 1000} s` : await what())
    await sleep(LOOK_MS)
  }
}

const exchangesAt = async ({ client }) => (await client.pairStatus()).exchanges.filter(({ state }) => state !== 'ended')

/** Both sides may have begun, or begun again: people compare until they see the same code on both. */
async function pair(a, b) {
  await Promise.all([a.client.pairStart(), b.client.pairStart()])
  let met
  await until(async () => {
    const [here, there] = await Promise.all([exchangesAt(a), exchangesAt(b)])
    met = here.map((each) => [each, there.find(({ code }) => code === each.code)]).find(([, other]) => other !== undefined)
    return met !== undefined
  }, 'a code that both show')
  await Promise.all([a.client.pairAnswer(met[0].peer, true), b.client.pairAnswer(met[1].peer, true)])
  for (const { client, adapter } of [a, b]) await until(async () => (await client.pairStatus()).exchanges.every(({ state }) => state !== 'accepted'), `${adapter}: the end of the exchange`)
  await Promise.all([a.client.pairStop(), b.client.pairStop()])
}

async function untilInSession(a, b) {
  await until(async () => await a.pathTo(b) === 'ble' && await b.pathTo(a) === 'ble', 'a session by Bluetooth')
}

/** So many bytes each way at once, reliable and in order; what arrives is compared. */
async function talk(a, b) {
  const listener = await b.client.listen('ble-kernel')
  const coming = (async () => {
    for await (const incoming of listener) return await incoming.accept()
  })()
  const here = await a.client.openChannel(b.peerId, { app: 'ble-kernel' })
  const there = await coming
  const since = performance.now()
  await Promise.all([[here, there], [there, here]].map(async ([from, to]) => {
    const bytes = randomBytes(plan.bytes)
    const got = createHash('sha256')
    const reading = (async () => {
      let left = bytes.length
      for await (const message of to) {
        got.update(message.bytes)
        left -= message.bytes.length
        if (left <= 0) return
      }
    })()
    for (let at = 0; at < bytes.length; at += MESSAGE_SIZE) await from.send(bytes.subarray(at, at + MESSAGE_SIZE))
    await reading
    if (got.digest('hex') !== createHash('sha256').update(bytes).digest('hex')) throw new Error('what arrived is not what was sent')
  }))
  const rate = 2 * plan.bytes / (performance.now() - since)
  await here.close()
  await listener.close()
  return rate
}

async function roundTrips(a, b) {
  const times = []
  for (let i = 0; i < plan.pings; i++) {
    const since = performance.now()
    await a.client.ping(b.peerId)
    times.push(performance.now() - since)
  }
  return times.sort((x, y) => x - y)[plan.pings >> 1]
}

async function run() {
  await Promise.all([a.start(), b.start()])
  told.push(`on ${seconds(started)}`)
  let since = performance.now()
  await pair(a, b)
  told.push(`paired ${seconds(since)}`)
  since = performance.now()
  await untilInSession(a, b)
  told.push(`session ${seconds(since)}`)
  const rtt = await roundTrips(a, b)
  told.push(`RTT p50 ${rtt.toFixed(0)} ms`, `${plan.bytes / 1000} kB each way at once at ${(await talk(a, b)).toFixed(0)} kB/s`)
  const { links, backend: driving } = await a.client.bleStatus()
  if (driving !== backend || links.length === 0) throw new Error(`driven by ${driving} with ${links.length} links`)
  const counters = (await a.client.status()).counters
  if (counters.udp_received_datagrams !== 0) throw new Error('something came by UDP')
  await b.stop()
  since = performance.now()
  await b.start()
  await until(async () => (await b.client.nearby()).devices.some(({ peer }) => peer === a.peerId), 'a friend in range')
  await b.client.connectPeer(a.peerId, { timeoutMs: PATIENCE_MS })
  await untilInSession(a, b)
  await roundTrips(a, b)
  told.push(`restarted and back ${seconds(since)}`)
}

const directory = mkdtempSync(join(tmpdir(), 'nodes-'))
const [a, b] = adapters.map((adapter) => new Node(directory, adapter))
let code = 0
const late = new Promise((_, reject) => {
  setTimeout(() => reject(new Error(`not done after ${WHOLE_MS / 1000} s: ${told.join(', ')}`)), WHOLE_MS)
})
try {
  await Promise.race([run(), late])
  console.log(`PASS ${suite} in ${seconds(started)}: ${told.join(', ')}`)
} catch (error) {
  console.log(`FAIL ${suite} after ${seconds(started)}: ${error.stack}`)
  for (const { adapter, log } of [a, b]) console.log(`--- the log of ${adapter}:\n${log.split('\n').slice(-60).join('\n')}`)
  code = 1
}
await Promise.all([a.stop(), b.stop()]).catch(() => undefined)
process.exit(code)
