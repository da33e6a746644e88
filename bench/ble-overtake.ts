/** An app that queues bulk on a low lane and then says something critical; and the one that hears both. A process of its own. */
import { connect, type Channel, type Client } from '../src/client/client.ts'
import { serve } from './harness/child.ts'

const APP = 'overtake'
const BULK_SIZE = 1000
/** What is critical is short: a key that was pressed. */
const CRITICAL_SIZE = 16

export interface OvertakeStart {
  readonly path: string
  /** Id of the other side, for the one that speaks. */
  readonly peer: string | undefined
}

/** What it can be asked. */
export type Overtake = {
  readonly start: (options: OvertakeStart) => Promise<void>
  /** Queues so many bytes, waits until they flow, and says one critical message. */
  readonly overtake: (options: { readonly bytes: number; readonly afterMs: number }) => Promise<void>
  /** How long each critical message took, in milliseconds, and what came of the bulk in bytes. */
  readonly read: () => { readonly latencies: readonly number[]; readonly bulkBytes: number }
}

let client: Client | undefined
let bulk: Channel | undefined
let critical: Channel | undefined
let bulkBytes = 0
let latencies: number[] = []

/** Milliseconds on a clock that all processes of the machine share. */
function clock(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

const calls: Overtake = {
  start: async ({ path, peer }) => {
    client = await connect({ path, reconnect: false })
    if (peer === undefined) {
      void hear(await client.listen(APP, { credit: 1 << 20 }))
      return
    }
    bulk = await client.openChannel(peer, { app: APP, mode: 'reliable-ordered', lane: 'low' })
    critical = await client.openChannel(peer, { app: APP, mode: 'reliable-ordered', lane: 'critical' })
  },
  overtake: async ({ bytes, afterMs }) => {
    const piece = new Uint8Array(BULK_SIZE)
    for (let left = bytes; left > 0; left -= BULK_SIZE) await bulk!.send(piece)
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    const message = new Uint8Array(CRITICAL_SIZE)
    new DataView(message.buffer).setFloat64(0, clock())
    await critical!.send(message)
  },
  read: () => {
    const reading = { latencies, bulkBytes }
    latencies = []
    return reading
  },
}

async function hear(listener: AsyncIterable<{ accept: () => Promise<Channel> }>): Promise<void> {
  for await (const incoming of listener) {
    const channel = await incoming.accept()
    channel.onMessage(({ bytes, offset, length }) => {
      if (length === CRITICAL_SIZE) latencies.push(clock() - new DataView(bytes.buffer, bytes.byteOffset + offset).getFloat64(0))
      else bulkBytes += length
    })
  }
}
serve(calls)
