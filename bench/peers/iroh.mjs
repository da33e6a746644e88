// iroh's Node binding (Rust, QUIC): its interface passes arrays of numbers, which is most of what it costs here. Native iroh is
// faster by far and is not measured.
import iroh from '@number0/iroh'

const ALPN = [...Buffer.from('postern-bench/1')]
const READ = 1 << 18
const { Endpoint, EndpointAddr, EndpointId } = iroh

async function start() {
  const builder = Endpoint.builder()
  builder.applyMinimal()
  builder.alpns([ALPN])
  builder.bindAddr('127.0.0.1:0')
  return builder.bind()
}

/** The bench sends the same bytes over and over: they are made an array once. */
const arrays = new WeakMap()
function arrayOf(bytes) {
  let array = arrays.get(bytes)
  if (array === undefined) arrays.set(bytes, (array = Array.from(bytes)))
  return array
}

export function open() {
  let endpoint
  return {
    keepsMessages: false,
    async listen(accept) {
      endpoint = await start()
      void serve(endpoint, accept)
      return { id: endpoint.id().toString(), address: endpoint.boundSockets().find((address) => address.startsWith('127')) }
    },
    async dial({ id, address }, kind) {
      endpoint ??= start()
      const connection = await (await endpoint).connect(new EndpointAddr(EndpointId.fromString(id), null, [address]), ALPN)
      if (kind === 'unreliable') return datagramsOf(connection)
      return streamOf(await connection.openBi(), connection)
    },
  }
}

async function serve(endpoint, accept) {
  for (;;) {
    const incoming = await endpoint.acceptNext()
    if (incoming === null || incoming === undefined) return
    void take(incoming, accept).catch(() => undefined)
  }
}

async function take(incoming, accept) {
  const connection = await (await incoming.accept()).connect()
  accept(datagramsOf(connection))
  accept(streamOf(await connection.acceptBi(), connection))
}

function streamOf({ send, recv }, connection) {
  let ready
  let busy = 0
  return {
    send: (bytes) => {
      busy++
      send.writeAll(arrayOf(bytes)).then(
        () => {
          busy--
          if (busy > 4 || ready === undefined) return
          const callback = ready
          ready = undefined
          callback()
        },
        () => undefined,
      )
      return busy < 16
    },
    onWritable: (callback) => (ready = callback),
    onData: async (take) => {
      for (;;) {
        const array = await recv.read(READ).catch(() => undefined)
        if (array === undefined || array === null || array.length === 0) return
        take(Uint8Array.from(array), 0, array.length)
      }
    },
    close: () => connection.close(0n, []),
  }
}

function datagramsOf(connection) {
  return {
    send: (bytes) => {
      connection.sendDatagram(arrayOf(bytes))
      return true
    },
    onWritable: (callback) => setImmediate(callback),
    onData: async (take) => {
      for (;;) {
        const array = await connection.readDatagram().catch(() => undefined)
        if (array === undefined || array === null) return
        take(Uint8Array.from(array), 0, array.length)
      }
    },
    close: () => connection.close(0n, []),
  }
}
