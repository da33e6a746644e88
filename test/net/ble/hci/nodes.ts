import type { BackendCommand, BackendEvent } from '../../../../src/net/ble/backend.ts'
import { HciStack } from '../../../../src/net/ble/hci/stack.ts'
import { hciTime, type HciTransport } from '../../../../src/net/ble/hci/transport.ts'
import { realAirTime } from '../../../../src/sim/air/air-time.ts'
import { VirtualAir, type AirOptions } from '../../../../src/sim/air/air.ts'
import type { AirController } from '../../../../src/sim/air/controller.ts'

// Each copy of a package listens for the end of the process.
process.setMaxListeners(1000)

type Event<Kind extends BackendEvent['kind']> = BackendEvent & { readonly kind: Kind }

/** How long a test waits for what must come. Patience only: nothing waits for it to pass. */
const PATIENCE_MS = 60_000

export function testRoom(options: Omit<AirOptions, 'time'> = {}): VirtualAir {
  return new VirtualAir({ time: realAirTime(), advertisingIntervalMaxMs: 20, ...options })
}

/** The way to a controller in the same process. */
export function inProcess(controller: AirController): HciTransport & { unplug(): void } {
  let closed: (why: string) => void = () => undefined
  let isOpen = true
  const end = (why: string): void => {
    if (!isOpen) return
    isOpen = false
    controller.detach()
    closed(why)
  }
  return {
    write: (packet) => controller.write(packet),
    start: (packet, onClosed) => {
      controller.onPacket(packet)
      closed = onClosed
    },
    close: () => end('closed'),
    unplug: () => end('pulled out'),
  }
}

/** A backend over a controller of the air, and what it has told. */
export class Node {
  readonly stack: HciStack
  readonly events: BackendEvent[] = []
  /** The controller that it has now, and how it is pulled out. */
  controller!: AirController
  unplug: () => void = () => undefined
  /** Opens fail with this code while it is set. */
  refuse: string | undefined
  /** Milliseconds that its clock is ahead: so that what failed was steady before. */
  ahead = 0
  onEvent: (event: BackendEvent) => void = () => undefined
  readonly #waiting: { readonly matches: (event: BackendEvent) => boolean; readonly resolve: (event: BackendEvent) => void }[] = []

  private constructor(given: HciStack | undefined, air: VirtualAir | undefined, slotCount: number) {
    this.stack = given ?? new HciStack({
      name: 'virtual', slotCount, time: { now: () => hciTime.now() + this.ahead, after: (milliseconds, run) => hciTime.after(milliseconds, run) },
      open: () => {
        if (this.refuse !== undefined) return Promise.reject(Object.assign(new Error(`refused: ${this.refuse}`), { code: this.refuse }))
        this.controller = air!.add()!
        const transport = inProcess(this.controller)
        this.unplug = () => transport.unplug()
        return Promise.resolve(transport)
      },
    })
    this.stack.onEvent((event) => {
      this.events.push(event)
      this.onEvent(event)
      for (const each of this.#waiting.filter(({ matches }) => matches(event))) {
        this.#waiting.splice(this.#waiting.indexOf(each), 1)
        each.resolve(event)
      }
    })
  }

  static async start(air: VirtualAir, slotCount = 4): Promise<Node> {
    return await new Node(undefined, air, slotCount).#begun()
  }

  /** Over a controller that is not ours. */
  static async begin(stack: HciStack): Promise<Node> {
    return await new Node(stack, undefined, 0).#begun()
  }

  async #begun(): Promise<this> {
    const on = this.next('adapter', ({ state }) => state === 'on')
    await this.stack.begin()
    await on
    return this
  }

  command(command: BackendCommand): void {
    this.stack.command(command)
  }

  show(hint?: Uint8Array): void {
    this.command({ kind: 'advertise', on: true, hint, pace: 'fast' })
  }

  listen(): void {
    this.command({ kind: 'scan', on: true, pace: 'fast' })
  }

  dial(address: string, timeoutMs: number = PATIENCE_MS): void {
    this.command({ kind: 'connect', address, timeoutMs })
  }

  send(link: number, value: Uint8Array): void {
    this.command({ kind: 'send', link, value })
  }

  told<Kind extends BackendEvent['kind']>(kind: Kind): Event<Kind>[] {
    return this.events.filter((event): event is Event<Kind> => event.kind === kind)
  }

  /** The next event of a kind from now on. */
  next<Kind extends BackendEvent['kind']>(kind: Kind, matches: (event: Event<Kind>) => boolean = () => true): Promise<Event<Kind>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${kind}; told: ${JSON.stringify(this.events.slice(-10))}`)), PATIENCE_MS)
      this.#waiting.push({
        matches: (event) => event.kind === kind && matches(event as Event<Kind>),
        resolve: (event) => {
          clearTimeout(timer)
          resolve(event as Event<Kind>)
        },
      })
    })
  }

  /** One that came already, or the next. */
  async has<Kind extends BackendEvent['kind']>(kind: Kind, matches: (event: Event<Kind>) => boolean = () => true): Promise<Event<Kind>> {
    return this.told(kind).find(matches) ?? await this.next(kind, matches)
  }
}

/** Dials the node that shows itself; the numbers of the link at both. */
export async function connect(central: Node, peripheral: Node, at?: string): Promise<{ readonly central: number; readonly peripheral: number; readonly mtu: number }> {
  const accepted = peripheral.next('opened', ({ role }) => role === 'peripheral')
  const address = at ?? await addressOf(central, peripheral)
  const opened = central.next('opened', ({ role, address: dialed }) => role === 'central' && dialed === address)
  central.dial(address)
  const [here, there] = await Promise.all([opened, accepted])
  return { central: here.link, peripheral: there.link, mtu: here.mtu }
}

/** As one hears it: by the hint, which a test gives to each. */
async function addressOf(listener: Node, shown: Node): Promise<string> {
  const own = [...shown.controller.randomAddress!].reverse().map((byte) => byte.toString(16).padStart(2, '0')).join(':')
  await listener.has('seen', ({ address }) => address === own)
  return own
}
