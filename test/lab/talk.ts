import { setTimeout as sleep } from 'node:timers/promises'
import type { Channel, Client, Listener } from '../../src/client/client.ts'
import { until, type TestDaemon } from '../e2e/support/daemon.ts'

/** How often each side says something: what a gap is measured with. */
const INTERVAL_MS = 10
/** Messages that each side has heard before something happens, and that it hears after it is over. */
const CALM = 30
const APP = 'lab'

export interface Gap {
  /** From the event, or from when the network was whole again, until both sides had heard something once more. */
  readonly gapMs: number
  /** How long the network itself was out. */
  readonly outageMs: number
}

export interface Fates {
  readonly sent: number
  readonly lost: number
  /** Came again, or out of order. */
  readonly wrong: number
}

export interface TalkOptions {
  /** Bytes of a message; 100 by default. */
  readonly size?: number
  readonly patienceMs?: number
}

/** One side of a conversation: what it sent, and when it heard what. */
class Speaker {
  sent = 0
  readonly heardAt: number[] = []
  readonly numbers: number[] = []
  readonly #channel: Channel
  readonly #size: number

  constructor(channel: Channel, size: number) {
    this.#channel = channel
    this.#size = size
    channel.onMessage(({ bytes, offset, length }) => {
      this.heardAt.push(performance.now())
      this.numbers.push(length === size ? new DataView(bytes.buffer, bytes.byteOffset + offset).getUint32(0) : -1)
    })
  }

  async speak(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const bytes = new Uint8Array(this.#size)
      new DataView(bytes.buffer).setUint32(0, this.sent)
      await this.#channel.send(bytes, { signal: stop })
      this.sent++
      await sleep(INTERVAL_MS)
    }
  }

  /** The longest time in which it heard nothing, of those that end after `from`; what lies before `whole` does not count. */
  silence(from: number, whole: number): number {
    let longest = 0
    for (let i = 1; i < this.heardAt.length; i++) {
      const [before, at] = [this.heardAt[i - 1]!, this.heardAt[i]!]
      if (at >= from) longest = Math.max(longest, at - Math.max(before, whole))
    }
    return longest
  }
}

/** Both daemons' apps tell each other numbers over one reliable channel, a hundred a second each way, while things happen to the network. */
export class Talk implements AsyncDisposable {
  readonly #speakers: readonly [Speaker, Speaker]
  readonly #listener: Listener
  readonly #stop = new AbortController()
  readonly #speaking: Promise<unknown>
  readonly #patienceMs: number
  #failure: unknown

  private constructor(channels: readonly [Channel, Channel], listener: Listener, { size = 100, patienceMs = 60_000 }: TalkOptions) {
    this.#speakers = [new Speaker(channels[0], size), new Speaker(channels[1], size)]
    this.#listener = listener
    this.#patienceMs = patienceMs
    this.#speaking = Promise.all(this.#speakers.map((speaker) => speaker.speak(this.#stop.signal))).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#failure = error
    })
  }

  static async start(a: TestDaemon, b: TestDaemon, options: TalkOptions = {}): Promise<Talk> {
    const [here, there] = [await a.client({ app: APP }), await b.client({ app: APP })]
    const listener = await there.listen(APP)
    const channels = await Promise.all([here.openChannel(b.peerId, { app: APP }), accept(listener)])
    return new Talk(channels, listener, options)
  }

  /** Messages sent so far, both ways. */
  get sent(): number {
    return this.#speakers[0].sent + this.#speakers[1].sent
  }

  /** Both have heard what the other says from now on. */
  async calm(): Promise<void> {
    const [a, b] = this.#speakers
    const [ofA, ofB] = [a.sent + CALM, b.sent + CALM]
    await until(() => {
      if (this.#failure !== undefined) throw new Error('the channel ended', { cause: this.#failure })
      return b.numbers.length >= ofA && a.numbers.length >= ofB
    }, 'messages both ways', this.#patienceMs)
  }

  /**
   * What both sides hear of an event.
   * @param event calls `whole` when the network works again, where the event is one that takes it away for a while
   */
  async gap(event: (whole: () => void) => Promise<unknown>): Promise<Gap> {
    await this.calm()
    const from = performance.now()
    let whole = from
    await event(() => {
      whole = performance.now()
    })
    await this.calm()
    return { gapMs: Math.round(Math.max(...this.#speakers.map((speaker) => speaker.silence(from, whole)))), outageMs: Math.round(whole - from) }
  }

  /** Nothing more is said; whatever was must come, once and in order. */
  async end(): Promise<Fates> {
    this.#stop.abort()
    await this.#speaking
    const [a, b] = this.#speakers
    await until(() => a.numbers.length >= b.sent && b.numbers.length >= a.sent, 'every message', this.#patienceMs).catch(() => undefined)
    // Long enough for what should not come.
    await sleep(100)
    const lost = Math.max(0, b.sent - new Set(a.numbers).size) + Math.max(0, a.sent - new Set(b.numbers).size)
    const wrong = [...this.#speakers].reduce((sum, { numbers }) => sum + numbers.filter((number, i) => number !== i).length, 0)
    return { sent: this.sent, lost, wrong }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#speaking
    await this.#listener.close().catch(() => undefined)
  }
}

async function accept(listener: Listener): Promise<Channel> {
  for await (const incoming of listener) return await incoming.accept()
  throw new Error('the listener ended')
}

/** By which path a daemon talks to another now. */
export async function pathTo(client: Client, peer: string): Promise<string | undefined> {
  return (await client.peers()).find(({ id, state }) => id === peer && state === 'connected')?.path
}
