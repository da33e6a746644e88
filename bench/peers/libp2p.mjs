// js-libp2p: TCP, Noise and yamux, one stream per connection. Node 20 lacks a function that libp2p 3 calls.
Promise.withResolvers ??= function () {
  let resolve
  let reject
  const promise = new Promise((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { multiaddr } = await import('@multiformats/multiaddr')

const PROTOCOL = '/postern-bench/1'
const MANY = 1_000_000

function start(listen) {
  return createLibp2p({
    addresses: { listen }, transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()],
    // No limit of its own is in the way of what is measured.
    connectionManager: { maxConnections: MANY, inboundConnectionThreshold: MANY, maxIncomingPendingConnections: MANY }, connectionMonitor: { enabled: false },
  })
}

export function open() {
  let node
  return {
    keepsMessages: false,
    async listen(accept) {
      node = await start(['/ip4/127.0.0.1/tcp/0'])
      await node.handle(PROTOCOL, (stream) => accept(pipeOf(stream)), { maxInboundStreams: MANY })
      return { address: node.getMultiaddrs()[0].toString() }
    },
    async dial({ address }) {
      node ??= start([])
      const connection = await (await node).dial(multiaddr(address), { force: true })
      return pipeOf(await connection.newStream(PROTOCOL, { maxOutboundStreams: MANY }), connection)
    },
  }
}

function pipeOf(stream, connection) {
  return {
    send: (bytes) => stream.send(bytes),
    onWritable: (callback) => stream.addEventListener('drain', callback, { once: true }),
    onData: (take) =>
      stream.addEventListener('message', ({ data }) => {
        const bytes = data.subarray()
        take(bytes, 0, bytes.length)
      }),
    close: () => {
      stream.abort(new Error('done'))
      connection?.close().catch(() => undefined)
    },
  }
}
