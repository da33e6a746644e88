// The packages noble and bleno as npm installs them, straight on one controller of an air: no multiplexer, nothing of Postern in between. Run by
// straight.test.ts in its own process, or one child each: `node straight.mjs central|peripheral <socket of the air>`, which prints a line of JSON per report.
// What reads H4 here is written anew, so that the air's own framing is not checked against itself.
import { EventEmitter } from 'node:events'
import { createRequire, Module } from 'node:module'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const SOCKET_MODULE = '@abandonware/bluetooth-hci-socket'
export const SERVICE = '6e400001b5a3f393e0a9e50e24dcca9e'
const RX = '6e400002b5a3f393e0a9e50e24dcca9e'
const TX = '6e400003b5a3f393e0a9e50e24dcca9e'
const MTU_MAX = 517
/** An attribute's value (vol 3 part F §3.2.9). */
const VALUE_MAX = 512

/**
 * A fresh copy of a package whose socket is this wire: `wire.write(packet)`, `wire.start(onPacket)`. The package's own files are not touched and nothing of it
 * is replaced but the module with the socket, which is native and not installed.
 */
export function loadStraight(name, wire) {
  delete process.env.HCI_CHANNEL_USER
  delete process.env.NOBLE_MULTI_ROLE
  const file = require.resolve(SOCKET_MODULE)
  for (const key of Object.keys(require.cache)) if (/[\\/]@abandonware[\\/]/.test(key)) delete require.cache[key]
  const stand = new Module(file)
  Object.assign(stand, {
    filename: file, loaded: true,
    exports: class extends EventEmitter {
      #bound = false
      bindRaw(device) {
        this.#bound = true
        wire.start((packet) => void this.emit('data', Buffer.from(packet)))
        return device ?? 0
      }
      // bleno's first socket is one to the kernel's management; who talks to it talks to nobody.
      bindControl() { return 0 }
      isDevUp() { return true }
      setFilter() {}
      start() {}
      stop() {}
      write(packet) {
        if (this.#bound) wire.write(packet)
      }
    },
  })
  require.cache[file] = stand
  return require(`@abandonware/${name}`)
}

/** H4 over the unix socket of an air. */
export function openWire(path) {
  const socket = connect(path)
  const write = (packet) => void socket.write(packet)
  const start = (take) => {
    let kept = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      kept = Buffer.concat([kept, chunk])
      for (;;) {
        const header = { 2: 5, 4: 3 }[kept[0] ?? 4]
        if (header === undefined) throw new Error(`a controller says ${kept[0]}`)
        if (kept.length < header) return
        const size = header + (kept[0] === 2 ? kept.readUInt16LE(3) : kept[2])
        if (kept.length < size) return
        take(kept.subarray(0, size))
        kept = kept.subarray(size)
      }
    })
  }
  return { write, start }
}

/** Bytes that say where they belong. */
function pattern(length, seed) {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + seed * 31) & 0xff))
}

function check(is, what) {
  if (!is) throw new Error(what)
}

/** Tells each value back, its bits turned over; ends the link itself when it is told to. */
export function playPeripheral(bleno, say) {
  bleno._bindings._gatt.maxMtu = MTU_MAX
  let notify
  const rx = new bleno.Characteristic({
    uuid: RX, properties: ['write', 'writeWithoutResponse'],
    onWriteRequest: (value, offset, withoutResponse, done) => {
      say({ kind: 'written', size: value.length, withoutResponse })
      done(bleno.Characteristic.RESULT_SUCCESS)
      if (value.toString() === 'go') bleno.disconnect()
      else notify?.(value.map((byte) => byte ^ 0xff))
    },
  })
  const tx = new bleno.Characteristic({
    uuid: TX, properties: ['notify'],
    onSubscribe: (size, update) => {
      notify = update
      say({ kind: 'subscribed', size })
    },
    onUnsubscribe: () => {
      notify = undefined
      say({ kind: 'unsubscribed' })
    },
  })
  const constant = new bleno.Characteristic({ uuid: '2a19', properties: ['read'], value: pattern(400, 9) })
  bleno.on('accept', () => say({ kind: 'accepted' }))
  bleno.on('disconnect', () => say({ kind: 'disconnected' }))
  bleno.on('mtuChange', (mtu) => say({ kind: 'mtu', mtu }))
  bleno.on('stateChange', (state) => {
    if (state !== 'poweredOn') return
    bleno.setServices([new bleno.PrimaryService({ uuid: SERVICE, characteristics: [rx, tx, constant] })])
    bleno.startAdvertising('straight', [SERVICE], (error) => say({ kind: error ? 'failed' : 'advertising', detail: String(error) }))
  })
}

/** Scans, connects, and checks every value that comes back; twice over the same peripheral. Resolves when the second link has ended. */
export async function playCentral(noble, say) {
  await new Promise((resolve) => noble.on('stateChange', (state) => state === 'poweredOn' && resolve()))
  const found = new Promise((resolve) => noble.once('discover', resolve))
  await noble.startScanningAsync([SERVICE], true)
  const peripheral = await found
  say({ kind: 'found', name: peripheral.advertisement.localName, services: peripheral.advertisement.serviceUuids, rssi: peripheral.rssi })
  await noble.stopScanningAsync()
  for (const round of [1, 2]) await playRound(noble, peripheral, round, say)
}

async function playRound(noble, peripheral, round, say) {
  const ended = new Promise((resolve) => peripheral.once('disconnect', resolve))
  await peripheral.connectAsync()
  const { characteristics } = await peripheral.discoverSomeServicesAndCharacteristicsAsync([SERVICE], [RX, TX, '2a19'])
  const [rx, tx, constant] = [RX, TX, '2a19'].map((uuid) => characteristics.find((each) => each.uuid === uuid))
  const asked = peripheral.mtu
  const echoes = []
  let onEcho = () => {}
  tx.on('data', (value) => {
    echoes.push(value)
    onEcho()
  })
  const echoed = (count) => new Promise((resolve) => {
    onEcho = () => echoes.length >= count && resolve()
    onEcho()
  })
  await tx.subscribeAsync()
  check((await constant.readAsync()).equals(pattern(400, 9)), 'a value longer than the MTU, read in parts, is another one')
  // Longer than the MTU that noble asks for by itself: it goes in prepared parts.
  const sent = [pattern(400, round)]
  await rx.writeAsync(sent[0], false)
  await echoed(1)
  // The packages' own fields, for what they can and do not by themselves.
  const gatt = noble._bindings._gatts[peripheral.id]
  gatt._desired_mtu = MTU_MAX
  await new Promise((resolve) => {
    gatt.once('mtu', resolve)
    gatt.exchangeMtu()
  })
  const write = async (value, withoutResponse) => {
    sent.push(value)
    await rx.writeAsync(value, withoutResponse)
  }
  await write(pattern(VALUE_MAX, round), false)
  for (let i = 1; i <= 60; i++) await write(pattern(1 + (i * 97) % VALUE_MAX, i), true)
  await write(pattern(1, 77), false)
  await echoed(sent.length)
  // The first was told back before the larger MTU: as much of it as fitted.
  check(echoes[0].equals(sent[0].subarray(0, asked - 3).map((byte) => byte ^ 0xff)), 'the echo of the long write is another one')
  for (let i = 1; i < sent.length; i++) check(echoes[i].equals(sent[i].map((byte) => byte ^ 0xff)), `echo ${i} is another one`)
  const rssi = await peripheral.updateRssiAsync()
  if (round === 1) await peripheral.disconnectAsync()
  else await rx.writeAsync(Buffer.from('go'), true)
  await ended
  tx.removeAllListeners()
  say({ kind: 'round', round, asked, mtu: peripheral.mtu, rssi, echoes: echoes.length, bytes: echoes.reduce((sum, { length }) => sum + length, 0) })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , role, path] = process.argv
  const say = (report) => void process.stdout.write(`${JSON.stringify(report)}\n`)
  const wire = openWire(path)
  if (role === 'peripheral') playPeripheral(loadStraight('bleno', wire), say)
  else {
    await playCentral(loadStraight('noble', wire), say)
    process.exit(0)
  }
}
