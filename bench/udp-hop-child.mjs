// One end of the UDP hop: the built driver (dist/) or plain node:dgram, sending or receiving. Plain JavaScript, because it is forked.
import { createSocket } from 'node:dgram'
import { ADDRESS_SIZE, encodeAddress } from '../dist/core/base/address.js'
import { Arena } from '../dist/core/base/arena.js'
import { TransmitBatch } from '../dist/core/endpoint/contract.js'
import { UdpDriver } from '../dist/net/udp.js'

const SLABS = 4
const [role, way, sizeText, segmentsText] = process.argv.slice(2)
const size = Number(sizeText)
const segments = Number(segmentsText)
let received = 0
let batches = 0
let running = false
let sent = 0

const host = {
  arena: new Arena(16 << 20),
  opened: () => 1,
  changed: () => undefined,
  received: (batch) => {
    received += batch.count
    batches++
  },
}

function cpuNs() {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

async function driverEnd() {
  const driver = new UdpDriver(host, { port: 0, bind: ['127.0.0.1'], receiveBuffer: 4 << 20, sendBuffer: 4 << 20 })
  await driver.start()
  return {
    port: driver.port,
    send: (port) => {
      for (let i = 0; i < SLABS; i++) {
        const base = host.arena.allocate(size * segments)
        const batch = new TransmitBatch(1)
        batch.reset(base, size * segments)
        batch.count = 1
        batch.link[0] = 1
        batch.address.set(encodeAddress('127.0.0.1', port).subarray(0, ADDRESS_SIZE))
        batch.offset[0] = base
        batch.length[0] = size * segments
        batch.segmentSize[0] = size
        const again = () => {
          sent += segments
          if (running) driver.send(batch, again)
        }
        driver.send(batch, again)
      }
    },
  }
}

async function plainEnd() {
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
  socket.on('message', () => received++)
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve))
  socket.setRecvBufferSize(4 << 20)
  socket.setSendBufferSize(4 << 20)
  const bytes = Buffer.alloc(size, 1)
  return {
    port: socket.address().port,
    send: (port) => {
      // Not connected, as a socket for many peers cannot be (a connected one saves a tenth, mostly in the kernel).
      const burst = () => {
        if (!running) return
        let left = segments
        const done = () => {
          sent++
          if (--left === 0) setImmediate(burst)
        }
        for (let i = 0; i < segments; i++) socket.send(bytes, port, '127.0.0.1', done)
      }
      burst()
    },
  }
}

const end = way === 'driver' ? await driverEnd() : await plainEnd()
process.send({ port: end.port })
process.on('message', (message) => {
  if (message.send !== undefined) {
    running = true
    end.send(message.send)
  }
  if (message.stop === true) running = false
  if (message.read === true) process.send({ role, sent, received, batches, cpuNs: cpuNs(), at: performance.now() })
})
