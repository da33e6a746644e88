import { createRequire } from 'node:module'
import { PackageError } from '../hci/packages.ts'

const PACKAGE = 'dbus-next'
/** A service of the bus answers within milliseconds; dialing takes as long as it is given. */
const CALL_MS = 10_000

/** A value with its type, as D-Bus has it in dictionaries. */
export interface Variant {
  readonly signature: string
  readonly value: unknown
}

export type Properties = Readonly<Record<string, Variant>>

/** A message of the bus (dbus-next). */
export interface BusMessage {
  readonly type: number
  readonly flags: number
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly sender: string
  readonly body: readonly unknown[]
}

interface MessageClass {
  new (fields: { destination: string; path: string; interface: string; member: string; signature?: string; body?: readonly unknown[] }): BusMessage
  newMethodReturn(call: BusMessage, signature: string, body: readonly unknown[]): BusMessage
  newError(call: BusMessage, name: string, text: string): BusMessage
  newSignal(path: string, interfaceName: string, member: string, signature: string, body: readonly unknown[]): BusMessage
}

interface MessageBus {
  call(message: BusMessage): Promise<BusMessage | null>
  send(message: BusMessage): void
  on(event: 'message', listener: (message: BusMessage) => void): unknown
  on(event: 'connect', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  addMethodHandler(handler: (message: BusMessage) => boolean): void
  disconnect(): void
}

interface DbusPackage {
  systemBus(): MessageBus
  readonly Message: MessageClass
  readonly Variant: new (signature: string, value: unknown) => Variant
}

/** What a call to an object of ours is answered with: a signature and values, or the name of an error. */
export type Reply = { readonly signature: string; readonly body: readonly unknown[] } | { readonly error: string; readonly text: string }

const SIGNAL = 4
/** D-Bus specification, message flags. */
const NO_REPLY_EXPECTED = 1

/** The system's message bus. */
export class SystemBus {
  readonly #bus: MessageBus
  readonly #package: DbusPackage

  private constructor(dbus: DbusPackage, bus: MessageBus) {
    this.#package = dbus
    this.#bus = bus
  }

  /** Rejects with the system's error when there is no bus. `lost` comes when it goes away later. */
  static async open(lost: (why: string) => void): Promise<SystemBus> {
    const dbus = loadDbus()
    const bus = dbus.systemBus()
    let isOpen = false
    await new Promise<void>((resolve, reject) => {
      bus.on('connect', () => {
        isOpen = true
        resolve()
      })
      bus.on('error', (error) => {
        if (isOpen) lost(error.message)
        else reject(error)
      })
    })
    return new SystemBus(dbus, bus)
  }

  variant(signature: string, value: unknown): Variant {
    return new this.#package.Variant(signature, value)
  }

  /** The values that come back. Rejects with the error of the other side, or after `milliseconds`. */
  async call(destination: string, path: string, interfaceName: string, member: string, signature = '', body: readonly unknown[] = [], milliseconds: number = CALL_MS): Promise<readonly unknown[]> {
    const message = new this.#package.Message({ destination, path, interface: interfaceName, member, signature, body })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${member} was not answered`)), milliseconds)
    })
    try {
      return (await Promise.race([this.#bus.call(message), late]))?.body ?? []
    } finally {
      clearTimeout(timer)
    }
  }

  async listen(rule: string, heard: (message: BusMessage) => void): Promise<void> {
    this.#bus.on('message', (message) => {
      if (message.type === SIGNAL) heard(message)
    })
    await this.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'AddMatch', 's', [rule])
  }

  /** Answers calls to objects of ours: `undefined` for what is none of them. */
  serve(answer: (message: BusMessage) => Reply | undefined): void {
    this.#bus.addMethodHandler((message) => {
      const reply = answer(message)
      if (reply === undefined) return false
      // A write without response is called so, and the bus refuses an answer to it.
      if ((message.flags & NO_REPLY_EXPECTED) !== 0) return true
      this.#bus.send('error' in reply ? this.#package.Message.newError(message, reply.error, reply.text) : this.#package.Message.newMethodReturn(message, reply.signature, reply.body))
      return true
    })
  }

  signal(path: string, interfaceName: string, member: string, signature: string, body: readonly unknown[]): void {
    this.#bus.send(this.#package.Message.newSignal(path, interfaceName, member, signature, body))
  }

  close(): void {
    this.#bus.disconnect()
  }
}

type Marshaller = { marshall: (this: Marshaller, put: unknown, data: unknown) => unknown }
interface Marshallers {
  MakeSimpleMarshaller: (type: string) => Marshaller
}

/** The package writes keys of dictionaries as the strings that they are in JavaScript, and refuses them where D-Bus has numbers, as in manufacturer data. */
function mendNumericKeys(marshallers: Marshallers): void {
  const make = marshallers.MakeSimpleMarshaller
  marshallers.MakeSimpleMarshaller = (type) => {
    const marshaller = make(type)
    if (type !== 'q') return marshaller
    const { marshall } = marshaller
    marshaller.marshall = function (put, data) {
      return marshall.call(this, put, typeof data === 'string' ? Number(data) : data)
    }
    return marshaller
  }
}

let loaded: DbusPackage | undefined

function loadDbus(): DbusPackage {
  if (loaded !== undefined) return loaded
  try {
    const require = createRequire(import.meta.url)
    loaded = require(PACKAGE) as DbusPackage
    mendNumericKeys(require(`${PACKAGE}/lib/marshallers`) as Marshallers)
    return loaded
  } catch (error) {
    throw new PackageError(`the package ${PACKAGE} is not installed; it is optional, and \`npm install\` without \`--omit=optional\` brings it (${error instanceof Error ? error.message.split('\n')[0] ?? '' : ''})`)
  }
}
