// Hyperswarm's encrypted streams without its DHT: @hyperswarm/secret-stream (Noise XX, libsodium) over udx-native. Stream ids are
// exchanged beforehand, as the DHT would do.
import SecretStream from '@hyperswarm/secret-stream'
import UDX from 'udx-native'

const LOOPBACK = '127.0.0.1'
/** Ids of the listening side, apart from those of the dialing. */
const FAR_SIDE = 1_000_000

export function open({ host = LOOPBACK }) {
  const udx = new UDX()
  const opening = new Map()
  let socket
  let ids = 0
  const bound = () => {
    if (socket === undefined) {
      socket = udx.createSocket()
      socket.bind(0, host)
    }
    return socket
  }
  return {
    keepsMessages: false,
    async listen(accept, signals) {
      bound()
      signals.on(({ id, port, from }) => {
        const raw = udx.createStream(FAR_SIDE + id)
        raw.connect(socket, id, port, from)
        accept(pipeOf(new SecretStream(false, raw)))
        signals.send({ id })
      })
      return { port: socket.address().port, at: host }
    },
    async dial({ port, at }, _kind, signals) {
      const id = ++ids
      const raw = udx.createStream(id)
      signals.on((said) => opening.get(said.id)?.())
      await new Promise((resolve) => {
        opening.set(id, resolve)
        signals.send({ id, port: bound().address().port, from: host })
      })
      opening.delete(id)
      raw.connect(socket, FAR_SIDE + id, port, at)
      const stream = new SecretStream(true, raw)
      await stream.opened
      return pipeOf(stream)
    },
  }
}

function pipeOf(stream) {
  stream.on('error', () => undefined)
  return {
    send: (bytes) => stream.write(bytes),
    onWritable: (callback) => stream.once('drain', callback),
    onData: (take) => stream.on('data', (bytes) => take(bytes, 0, bytes.length)),
    close: () => stream.destroy(),
  }
}
