// Hyperswarm as applications use it: HyperDHT with a DHT of three nodes on this machine, which finds the peer by its key.
import DHT from 'hyperdht'
import createTestnet from 'hyperdht/testnet.js'

const HOST = '127.0.0.1'

export function open() {
  let node
  const start = (bootstrap) => (node ??= new DHT({ bootstrap, host: HOST, firewalled: false, ephemeral: false }))
  return {
    keepsMessages: false,
    async listen(accept) {
      const { bootstrap } = await createTestnet(3, { host: HOST })
      const server = start(bootstrap).createServer((stream) => accept(pipeOf(stream)))
      await server.listen(DHT.keyPair())
      return { bootstrap, key: server.publicKey.toString('hex') }
    },
    async dial({ bootstrap, key }) {
      const stream = start(bootstrap).connect(Buffer.from(key, 'hex'), { keyPair: DHT.keyPair(), localConnection: true })
      await new Promise((resolve, reject) => {
        stream.once('open', resolve)
        stream.once('error', reject)
      })
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
    close: () => {
      stream.end()
      // It waits long for the other side's end.
      setTimeout(() => stream.destroy(), 150)
    },
  }
}
