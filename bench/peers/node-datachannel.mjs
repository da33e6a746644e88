// WebRTC data channels: node-datachannel (libdatachannel: ICE, DTLS by OpenSSL, SCTP by usrsctp), one connection per channel.
import { PeerConnection } from 'node-datachannel'

const BUFFERED_MAX = 1 << 20
const OPEN_TIMEOUT_MS = 15_000
const CONFIG = { iceServers: [], bindAddress: '127.0.0.1', maxMessageSize: 262_144 }

export function open() {
  const connections = new Map()
  let number = 0
  const add = (id, name, signals) => {
    const connection = new PeerConnection(`${name}${id}`, CONFIG)
    connections.set(id, connection)
    connection.onLocalDescription((sdp, type) => signals.send({ id, sdp, type }))
    connection.onLocalCandidate((candidate, mid) => signals.send({ id, candidate, mid }))
    connection.onStateChange((state) => {
      if (state === 'closed' || state === 'failed') connections.delete(id)
    })
    return connection
  }
  const told = ({ id, sdp, type, candidate, mid }) => {
    try {
      if (sdp === undefined) connections.get(id)?.addRemoteCandidate(candidate, mid)
      else connections.get(id)?.setRemoteDescription(sdp, type)
    } catch {
      // For a connection that was closed meanwhile.
    }
  }
  return {
    keepsMessages: true,
    async listen(accept, signals) {
      signals.on((signal) => {
        if (!connections.has(signal.id)) {
          const connection = add(signal.id, 'listener', signals)
          connection.onDataChannel((channel) => accept(pipeOf(channel, connection)))
        }
        told(signal)
      })
      return {}
    },
    async dial(_address, kind, signals) {
      signals.on(told)
      const connection = add(++number, 'dialer', signals)
      const channel = connection.createDataChannel('bench', kind === 'reliable' ? {} : { unordered: true, maxRetransmits: 0 })
      await new Promise((resolve, reject) => {
        channel.onOpen(resolve)
        setTimeout(() => reject(new Error('The channel did not open.')), OPEN_TIMEOUT_MS).unref()
      })
      return pipeOf(channel, connection)
    },
  }
}

function pipeOf(channel, connection) {
  let ready
  channel.setBufferedAmountLowThreshold(BUFFERED_MAX / 4)
  channel.onBufferedAmountLow(() => {
    const callback = ready
    ready = undefined
    callback?.()
  })
  return {
    send: (bytes) => {
      channel.sendMessageBinary(bytes)
      return channel.bufferedAmount() < BUFFERED_MAX
    },
    onWritable: (callback) => {
      if (channel.bufferedAmount() < BUFFERED_MAX / 4) setImmediate(callback)
      else ready = callback
    },
    onData: (take) => channel.onMessage((message) => take(message, 0, message.length)),
    close: () => {
      channel.close()
      connection.close()
    },
  }
}
