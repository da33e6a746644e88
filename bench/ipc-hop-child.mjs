// One end of the IPC hop: the built server or client (dist/), or bare sockets with the same frames. Plain JavaScript, because it is forked.
import { connect as connectSocket, createServer } from 'node:net'
import { connect } from '../dist/client/client.js'
import { encodeMessageHead, messageFrameSize } from '../dist/core/wire/ipc.js'
import { ipcPathOf } from '../dist/core/wire/ipc-path.js'
import { startIpcServer } from '../dist/ipc/server.js'

const PEER = `${'a'.repeat(51)}q`
const COST = 32
// Several turns of a full socket: credit is not what is measured here.
const CREDIT = 1 << 20
const [role, way, path, sizeText] = process.argv.slice(2)
const size = Number(sizeText)
const bytes = new Uint8Array(size).fill(7)
let received = 0

const cpuNs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

/** Stands in for the router: `up` counts, `down` sends as fast as it may, `ping` sends back. */
class Handler {
  channels = new Map()
  methods = {
    'channel.open': (client, { peer, app, mode, credit }) => {
      const context = this.channels.size
      const channel = client.addChannel({ peer, context, mode, credit, deadlineMs: 0 })
      this.channels.set(context, { client, channel, app, owed: 0 })
      if (app === 'down') setImmediate(() => this.fill(context))
      return { channel, handle: client.peerHandle(peer), sendCredit: CREDIT, maxMessage: 1 << 20 }
    },
  }

  onClientOpen() {
    return { peerId: PEER, daemon: '0', instance: '0', scopes: ['app:*', 'status', 'admin'] }
  }

  onClientClosed() {
    process.exit()
  }

  onMessage(client, message) {
    const entry = this.channels.get(message.context)
    received++
    if (entry.app === 'ping') client.sendMessage(message.channel, 0, message.bytes, message.offset, message.length)
    entry.owed += message.length + COST
    // As a daemon's queue drains: in steps, not message by message.
    if (entry.owed > CREDIT / 8 || entry.app === 'ping') {
      client.sendCredit(message.channel, entry.owed)
      entry.owed = 0
    }
    return true
  }

  onCredit(_client, _channel, context) {
    if (this.channels.get(context).app === 'down') this.fill(context)
  }

  onWritable() {
    for (const [context, { app }] of this.channels) if (app === 'down') this.fill(context)
  }

  onChannelBroken() {}

  onFault(error) {
    throw error
  }

  fill(context) {
    const { client, channel } = this.channels.get(context)
    while (!client.congested && client.sendMessage(channel, 0, bytes, 0, size) === 'queued') received++
  }
}

async function server() {
  const handler = new Handler()
  await startIpcServer({ handler, paths: [ipcPathOf(path)], messageMax: 1 << 20 })
}

async function client() {
  const daemon = await connect({ path, reconnect: false })
  const channel = await daemon.openChannel(PEER, { app: way, mode: 'reliable-ordered', credit: CREDIT })
  const turns = []
  if (way === 'up') void sendOn(channel)
  if (way === 'down') channel.onMessage(() => received++)
  if (way === 'ping') {
    let at = process.hrtime.bigint()
    channel.onMessage(() => {
      const now = process.hrtime.bigint()
      turns.push(Number(now - at) / 1000)
      received++
      at = process.hrtime.bigint()
      channel.trySend(bytes)
    })
    channel.trySend(bytes)
  }
  return turns
}

async function sendOn(channel) {
  for (;;) {
    while (channel.trySend(bytes) === 'queued') received++
    await channel.writable()
  }
}

/** The limit that frames in 64 KiB pieces have on this machine: no credit, no channels, frames only counted. */
function bareServer() {
  createServer((socket) => {
    let rest
    socket.on('data', (chunk) => {
      const data = rest === undefined ? chunk : Buffer.concat([rest, chunk])
      let at = 0
      while (at + 4 <= data.length) {
        const next = at + 4 + (data[at] | (data[at + 1] << 8) | (data[at + 2] << 16))
        if (next > data.length) break
        received++
        at = next
      }
      rest = at < data.length ? data.subarray(at) : undefined
    })
    socket.on('close', () => process.exit())
  }).listen(path, () => process.send({ ready: true }))
}

function bareClient() {
  const frameSize = messageFrameSize(size)
  const socket = connectSocket(path, () => {
    process.send({ ready: true })
    const go = () => {
      for (;;) {
        const batch = Buffer.allocUnsafe(65_536)
        let at = 0
        while (at + frameSize <= batch.length) {
          batch.set(bytes, encodeMessageHead(batch, at, size, 1, 0, 255, 0, 0))
          at += frameSize
        }
        if (!socket.write(batch.subarray(0, at))) {
          socket.once('drain', go)
          return
        }
      }
    }
    go()
  })
}

let turns = []
process.on('message', (message) => {
  if (!message.read) return
  process.send({ received, cpuNs: cpuNs(), at: performance.now(), turns: turns.splice(0) })
})
if (way === 'bare') {
  if (role === 'server') bareServer()
  else bareClient()
} else {
  if (role === 'server') await server()
  else turns = await client()
  process.send({ ready: true })
}
