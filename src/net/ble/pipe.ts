import { fromUtf8, readU16, readU32, utf8, writeU16, writeU32 } from '../../core/base/bytes.ts'
import { adapterStates, dropReasons, HINT_SIZE, MTU_MAX, MTU_MIN, paces, roles, VALUE_SIZE_MAX, type BackendCommand, type BackendEvent } from './backend.ts'

/**
 * Commands and events on the pipe between the daemon and a backend's process:
 *
 *   length u16 (of kind and body) | kind u8 | body
 *
 *   0x01 advertise     on u8 | pace u8 | hint 0 or 6          0x81 adapter        state u8 | detail
 *   0x02 scan          on u8 | pace u8                        0x82 seen           rssi i8 | n u8 | address n | hint 0 or 6
 *   0x03 connect       timeout u32 (ms) | address             0x83 opened         link u32 | role u8 | mtu u16 | interval u16 | address
 *   0x04 disconnect    link u32                               0x84 mtu            link u32 | mtu u16
 *   0x05 send          link u32 | value                       0x85 received       link u32 | value
 *   0x06 stop          nothing                                0x86 sent           link u32 | count u16
 *   0x07 ping          nothing                                0x87 closed         link u32 | reason
 *                                                             0x88 connectFailed  n u8 | address n | reason
 *                                                             0x89 fault          n u8 | code n | detail
 *                                                             0x8a pong           nothing
 *                                                             0x8b dropped        reason u8 | count u32
 *
 * Texts are UTF-8 to the end of the message, or n bytes. `ping` and `pong` are the pipe's own: they show that the other process still turns.
 */
export type PipeCommand = BackendCommand | { readonly kind: 'ping' }
export type PipeEvent = BackendEvent | { readonly kind: 'pong' }

/** vol 4 part E §7.7.65.1: intervals of links are told in units of this; 0: not known. */
const INTERVAL_UNIT_MS = 1.25

/** The longest message: a value with its header, or a text. */
export const MESSAGE_SIZE_MAX = 640
/** Addresses are 17 characters (Linux) or 36 (macOS). */
export const ADDRESS_TEXT_MAX = 64
/** Texts for people are cut to this. */
const TEXT_MAX = 400

class Writer {
  readonly #bytes = new Uint8Array(2 + MESSAGE_SIZE_MAX)
  #at = 2

  u8(value: number): this {
    this.#bytes[this.#at++] = value
    return this
  }

  u16(value: number): this {
    writeU16(this.#bytes, this.#at, value)
    this.#at += 2
    return this
  }

  u32(value: number): this {
    writeU32(this.#bytes, this.#at, value)
    this.#at += 4
    return this
  }

  bytes(value: Uint8Array): this {
    this.#bytes.set(value, this.#at)
    this.#at += value.length
    return this
  }

  text(value: string, max: number = TEXT_MAX): this {
    return this.bytes(cut(value, max))
  }

  sized(value: string): this {
    const bytes = cut(value, ADDRESS_TEXT_MAX)
    return this.u8(bytes.length).bytes(bytes)
  }

  done(): Uint8Array {
    writeU16(this.#bytes, 0, this.#at - 2)
    return this.#bytes.slice(0, this.#at)
  }
}

/** At most so many bytes of a text, whole characters. */
function cut(text: string, max: number): Uint8Array {
  let bytes = utf8(text.slice(0, max))
  while (bytes.length > max) {
    text = text.slice(0, text.length - 1)
    bytes = utf8(text.slice(0, max))
  }
  return bytes
}

export function encodeCommand(command: PipeCommand): Uint8Array {
  const writer = new Writer()
  switch (command.kind) {
    case 'advertise':
      writer.u8(1).u8(command.on ? 1 : 0).u8(paces.indexOf(command.pace))
      return (command.hint === undefined ? writer : writer.bytes(command.hint)).done()
    case 'scan':
      return writer.u8(2).u8(command.on ? 1 : 0).u8(paces.indexOf(command.pace)).done()
    case 'connect':
      return writer.u8(3).u32(command.timeoutMs).text(command.address, ADDRESS_TEXT_MAX).done()
    case 'disconnect':
      return writer.u8(4).u32(command.link).done()
    case 'send':
      return writer.u8(5).u32(command.link).bytes(command.value).done()
    case 'stop':
      return writer.u8(6).done()
    case 'ping':
      return writer.u8(7).done()
    default:
      return command satisfies never
  }
}

export function encodeEvent(event: PipeEvent): Uint8Array {
  const writer = new Writer()
  switch (event.kind) {
    case 'adapter':
      return writer.u8(0x81).u8(adapterStates.indexOf(event.state)).text(event.detail).done()
    case 'seen':
      writer.u8(0x82).u8(event.rssi & 0xff).sized(event.address)
      return (event.hint === undefined ? writer : writer.bytes(event.hint)).done()
    case 'opened':
      return writer.u8(0x83).u32(event.link).u8(roles.indexOf(event.role)).u16(event.mtu).u16(Math.round((event.intervalMs ?? 0) / INTERVAL_UNIT_MS)).text(event.address, ADDRESS_TEXT_MAX).done()
    case 'mtu':
      return writer.u8(0x84).u32(event.link).u16(event.mtu).done()
    case 'received':
      return writer.u8(0x85).u32(event.link).bytes(event.value).done()
    case 'sent':
      return writer.u8(0x86).u32(event.link).u16(event.count).done()
    case 'closed':
      return writer.u8(0x87).u32(event.link).text(event.reason).done()
    case 'connectFailed':
      return writer.u8(0x88).sized(event.address).text(event.reason).done()
    case 'fault':
      return writer.u8(0x89).sized(event.code).text(event.detail).done()
    case 'pong':
      return writer.u8(0x8a).done()
    case 'dropped':
      return writer.u8(0x8b).u8(dropReasons.indexOf(event.reason)).u32(event.count).done()
    default:
      return event satisfies never
  }
}

/** The command in one message (kind and body); `undefined` for anything that is not one. Bytes in it are copies (a `slice` of a Buffer would be none). */
export function decodeCommand(message: Uint8Array): PipeCommand | undefined {
  const size = message.length
  switch (message[0]) {
    case 1: {
      const pace = paces[message[2]!]
      if ((size !== 3 && size !== 3 + HINT_SIZE) || message[1]! > 1 || pace === undefined) return undefined
      return { kind: 'advertise', on: message[1] === 1, pace, hint: size === 3 ? undefined : new Uint8Array(message.subarray(3)) }
    }
    case 2: {
      const pace = paces[message[2]!]
      return size !== 3 || message[1]! > 1 || pace === undefined ? undefined : { kind: 'scan', on: message[1] === 1, pace }
    }
    case 3: {
      const address = textIn(message, 5, ADDRESS_TEXT_MAX)
      return address === undefined || address === '' ? undefined : { kind: 'connect', timeoutMs: readU32(message, 1), address }
    }
    case 4:
      return size === 5 ? { kind: 'disconnect', link: readU32(message, 1) } : undefined
    case 5:
      return isValue(message) ? { kind: 'send', link: readU32(message, 1), value: new Uint8Array(message.subarray(5)) } : undefined
    case 6:
      return size === 1 ? { kind: 'stop' } : undefined
    case 7:
      return size === 1 ? { kind: 'ping' } : undefined
    default:
      return undefined
  }
}

/** The event in one message (kind and body); `undefined` for anything that is not one. Bytes in it are copies. */
export function decodeEvent(message: Uint8Array): PipeEvent | undefined {
  const size = message.length
  switch (message[0]) {
    case 0x81: {
      const state = adapterStates[message[1]!]
      const detail = textIn(message, 2)
      return state === undefined || detail === undefined ? undefined : { kind: 'adapter', state, detail }
    }
    case 0x82:
      return decodeSeen(message)
    case 0x83:
      return decodeOpened(message)
    case 0x84: {
      const mtu = size === 7 ? readU16(message, 5) : 0
      return isMtu(mtu) ? { kind: 'mtu', link: readU32(message, 1), mtu } : undefined
    }
    case 0x85:
      return isValue(message) ? { kind: 'received', link: readU32(message, 1), value: new Uint8Array(message.subarray(5)) } : undefined
    case 0x86:
      return size === 7 ? { kind: 'sent', link: readU32(message, 1), count: readU16(message, 5) } : undefined
    case 0x87: {
      const reason = textIn(message, 5)
      return reason === undefined ? undefined : { kind: 'closed', link: readU32(message, 1), reason }
    }
    case 0x88: {
      const address = sizedIn(message, 1)
      const reason = address === undefined ? undefined : textIn(message, address.end)
      return address === undefined || reason === undefined ? undefined : { kind: 'connectFailed', address: address.text, reason }
    }
    case 0x89: {
      const code = sizedIn(message, 1)
      const detail = code === undefined ? undefined : textIn(message, code.end)
      return code === undefined || detail === undefined ? undefined : { kind: 'fault', code: code.text, detail }
    }
    case 0x8a:
      return size === 1 ? { kind: 'pong' } : undefined
    case 0x8b: {
      const reason = dropReasons[message[1]!]
      return size !== 6 || reason === undefined ? undefined : { kind: 'dropped', reason, count: readU32(message, 2) }
    }
    default:
      return undefined
  }
}

function decodeSeen(message: Uint8Array): PipeEvent | undefined {
  const address = sizedIn(message, 2)
  if (address === undefined || address.text === '') return undefined
  const rest = message.length - address.end
  if (rest !== 0 && rest !== HINT_SIZE) return undefined
  return { kind: 'seen', address: address.text, rssi: (message[1]! << 24) >> 24, hint: rest === 0 ? undefined : new Uint8Array(message.subarray(address.end)) }
}

function decodeOpened(message: Uint8Array): PipeEvent | undefined {
  const address = textIn(message, 10, ADDRESS_TEXT_MAX)
  const role = roles[message[5]!]
  if (address === undefined || role === undefined) return undefined
  const mtu = readU16(message, 6)
  const interval = readU16(message, 8)
  return isMtu(mtu) ? { kind: 'opened', link: readU32(message, 1), role, mtu, address, ...(interval === 0 ? {} : { intervalMs: interval * INTERVAL_UNIT_MS }) } : undefined
}

function isMtu(mtu: number): boolean {
  return mtu >= MTU_MIN && mtu <= MTU_MAX
}

function isValue(message: Uint8Array): boolean {
  return message.length >= 5 && message.length <= 5 + VALUE_SIZE_MAX
}

function textIn(message: Uint8Array, from: number, max = TEXT_MAX): string | undefined {
  return message.length < from || message.length - from > max ? undefined : fromUtf8(message.subarray(from))
}

function sizedIn(message: Uint8Array, from: number): { readonly text: string; readonly end: number } | undefined {
  if (message.length <= from || message[from]! > ADDRESS_TEXT_MAX) return undefined
  const end = from + 1 + message[from]!
  if (message.length < end) return undefined
  const text = fromUtf8(message.subarray(from + 1, end))
  return text === undefined ? undefined : { text, end }
}

/** Cuts a stream into messages. It keeps less than one message; a length that none has ends it. */
export class MessageReader {
  readonly #take: (message: Uint8Array) => boolean
  #kept: Uint8Array = new Uint8Array(0)
  #broken = false

  /** `take` sees each message (a view, for the call only) and says whether it was one. */
  constructor(take: (message: Uint8Array) => boolean) {
    this.#take = take
  }

  /** `false` once something was no message: the other side is not what it should be, and nothing more is read. */
  push(chunk: Uint8Array): boolean {
    if (this.#broken) return false
    let bytes = chunk
    if (this.#kept.length > 0) {
      bytes = new Uint8Array(this.#kept.length + chunk.length)
      bytes.set(this.#kept)
      bytes.set(chunk, this.#kept.length)
    }
    let at = 0
    while (bytes.length - at >= 2) {
      const length = readU16(bytes, at)
      if (length === 0 || length > MESSAGE_SIZE_MAX) return this.#break()
      if (bytes.length - at < 2 + length) break
      if (!this.#take(bytes.subarray(at + 2, at + 2 + length))) return this.#break()
      at += 2 + length
    }
    this.#kept = new Uint8Array(bytes.subarray(at))
    return true
  }

  #break(): false {
    this.#broken = true
    this.#kept = new Uint8Array(0)
    return false
  }
}
