import { MTU_MIN, VALUE_SIZE_MAX, VALUES_UNSENT_MAX, type BackendEvent, type Role } from '../backend.ts'
import type { HciTime } from './transport.ts'

/**
 * vol 3 part F §3.2.9: an attribute's value has 512 bytes at most, whatever the MTU. bluetoothd before 5.69 counts the two bytes of the handle among them
 * (decision 121), and drops writes that are longer without a word. Nobody says what it is made of: more is never told.
 */
const MTU_USED_MAX = 510 + 3

/** A link that can carry values. */
export interface ValueLink {
  readonly number: number
  readonly role: Role
  readonly address: string
  mtu: number
  /** Values given to the package that the controller is not done with. */
  unsent: number
  readonly write: (value: Buffer) => void
  readonly disconnect: () => void
  /** Why it is being closed, if it is we who close it. */
  reason: string | undefined
}

/** The links of a backend that were told as opened, and what is told of them. */
export class LinkTable {
  readonly #tell: (event: BackendEvent) => void
  /** BOUNDED by the slots of bleno and by what the transport dials. */
  readonly #links = new Map<number, ValueLink>()
  #numbers = 0

  constructor(tell: (event: BackendEvent) => void) {
    this.#tell = tell
  }

  get size(): number {
    return this.#links.size
  }

  open(role: Role, address: string, mtu: number, write: (value: Buffer) => void, disconnect: () => void, intervalMs?: number): ValueLink {
    const link: ValueLink = { number: ++this.#numbers, role, address, mtu: clampMtu(mtu), unsent: 0, write, disconnect, reason: undefined }
    this.#links.set(link.number, link)
    this.#tell({ kind: 'opened', link: link.number, role, address, mtu: link.mtu, ...(intervalMs === undefined ? {} : { intervalMs }) })
    return link
  }

  setMtu(link: ValueLink, mtu: number): void {
    if (clampMtu(mtu) === link.mtu || !this.#links.has(link.number)) return
    link.mtu = clampMtu(mtu)
    this.#tell({ kind: 'mtu', link: link.number, mtu: link.mtu })
  }

  received(link: ValueLink, value: Uint8Array): void {
    if (this.#links.has(link.number) && value.length <= VALUE_SIZE_MAX) this.#tell({ kind: 'received', link: link.number, value: new Uint8Array(value) })
  }

  sent(link: ValueLink, count: number): void {
    const told = Math.min(count, link.unsent)
    link.unsent -= told
    if (told > 0 && this.#links.has(link.number)) this.#tell({ kind: 'sent', link: link.number, count: told })
  }

  closed(link: ValueLink, reason: string): void {
    if (this.#links.delete(link.number)) this.#tell({ kind: 'closed', link: link.number, reason: link.reason ?? reason })
  }

  /** A value too long for the link, or one more than may be unsent, closes it: what sends it has lost count. */
  send(number: number, value: Uint8Array): void {
    const link = this.#links.get(number)
    if (link === undefined || link.reason !== undefined) return
    if (link.unsent >= VALUES_UNSENT_MAX || value.length > link.mtu - 3) {
      link.reason = link.unsent >= VALUES_UNSENT_MAX ? 'overrun' : 'value too long'
      link.disconnect()
      return
    }
    link.unsent++
    link.write(Buffer.from(value.buffer, value.byteOffset, value.length))
  }

  disconnect(number: number): void {
    const link = this.#links.get(number)
    if (link === undefined || link.reason !== undefined) return
    link.reason = 'closed here'
    link.disconnect()
  }
}

function clampMtu(mtu: number): number {
  return Math.max(MTU_MIN, Math.min(MTU_USED_MAX, mtu))
}

/** A timer that is set again and again for the step that is being waited for. */
export class StepTimer {
  readonly #time: HciTime
  #cancel: (() => void) | undefined

  constructor(time: HciTime) {
    this.#time = time
  }

  set(milliseconds: number, run: () => void): void {
    this.#cancel?.()
    this.#cancel = this.#time.after(milliseconds, run)
  }

  clear(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}
