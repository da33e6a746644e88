/** Frames written and read by hand, from the table of WIRE.md §5 and not from the code under test. */

import { readU32 } from '../../src/core/base/bytes.ts'

/** QUIC varint; `size` forces a longer form than needed. */
export function vi(value: number | bigint, size?: 1 | 2 | 4 | 8): number[] {
  const wide = BigInt(value)
  const length = size ?? (wide < 0x40n ? 1 : wide < 0x4000n ? 2 : wide < 0x4000_0000n ? 4 : 8)
  const bytes: number[] = []
  for (let i = length - 1; i >= 0; i--) bytes.push(Number((wide >> BigInt(8 * i)) & 0xffn))
  bytes[0]! |= { 1: 0, 2: 0x40, 4: 0x80, 8: 0xc0 }[length]
  return bytes
}

export function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]
}

export function text(value: string): number[] {
  const bytes = [...new TextEncoder().encode(value)]
  return [bytes.length, ...bytes]
}

export const ping: readonly number[] = [0x01]

/** `ranges`: gap and length of every further range. */
export function ack(largest: number, first = 0, ranges: readonly (readonly [number, number])[] = [], delay = 0): number[] {
  return [0x02, ...vi(largest), ...vi(delay), ...vi(ranges.length), ...vi(first), ...ranges.flatMap(([gap, length]) => [...vi(gap), ...vi(length)])]
}

export interface OpenFields { readonly mode?: number; readonly lane?: number; readonly weight?: number; readonly credit?: number | bigint; readonly app?: string; readonly meta?: readonly number[] }

export function open(channel: number, { mode = 0, lane = 2, weight = 1, credit = 0, app = 'test', meta = [] }: OpenFields = {}): number[] {
  return [0x20, ...vi(channel), mode, lane, weight, ...vi(credit), ...text(app), ...vi(meta.length), ...meta]
}

export function accept(channel: number, credit: number | bigint = 0): number[] {
  return [0x21, ...vi(channel), ...vi(credit)]
}

export interface CloseFields { readonly abort?: boolean; readonly code?: number; readonly final?: number | bigint; readonly cost?: number | bigint; readonly reason?: string }

export function channelClose(channel: number, { abort = false, code = 0, final = 0, cost = 0, reason = '' }: CloseFields = {}): number[] {
  return [0x22, ...vi(channel), abort ? 1 : 0, ...vi(code), ...vi(final), ...vi(cost), ...text(reason)]
}

/** A whole message with its length. */
export function message(channel: number, id: number, bytes: readonly number[] | Uint8Array): number[] {
  return [0x11, ...vi(channel), ...vi(id), ...vi(bytes.length), ...bytes]
}

export function fragment(channel: number, id: number, offset: number | bigint, total: number | bigint, bytes: readonly number[] | Uint8Array): number[] {
  return [0x13, ...vi(channel), ...vi(id), ...vi(offset), ...vi(total), ...vi(bytes.length), ...bytes]
}

export function skip(channel: number, id: number, total: number | bigint): number[] {
  return [0x14, ...vi(channel), ...vi(id), ...vi(total)]
}

export function challenge(data: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8]): number[] {
  return [0x0a, ...data]
}

export function observed(sequence: number, ip: readonly number[] = [192, 0, 2, 1], port = 9): number[] {
  return [0x0c, ...vi(sequence), 4, ...ip, port & 0xff, port >>> 8]
}

export function close(code: number, reason = ''): number[] {
  return [0x3f, ...vi(code), ...vi(0), ...text(reason)]
}

export interface PunchFields { readonly mode?: number; readonly nat?: number; readonly delay?: number; readonly packets?: number; readonly sockets?: number }

export function punch(op: number, round: number, { mode = 1, nat = 0, delay = 0, packets = 0, sockets = 0 }: PunchFields = {}): number[] {
  return [0x0e, op, ...vi(round), mode, nat, ...vi(delay), ...vi(packets), ...vi(sockets)]
}

/** A step of pairing: 0 commit, 1 nonce, 2 reveal, 3 accept, 4 reject. */
export function pair(op: number, data: readonly number[] | Uint8Array = []): number[] {
  return [0x32, op, ...data]
}

export interface RekeyFields { readonly message: 0 | 1; readonly suite?: number; readonly sender: number; readonly receiver?: number; readonly offset?: number; readonly total?: number }

/** HANDSHAKE: a piece of a rekey's Noise message. */
export function handshake(bytes: readonly number[] | Uint8Array, { message, suite = 1, sender, receiver = 0, offset = 0, total = bytes.length }: RekeyFields): number[] {
  return [0x0f, message, suite, ...u32(sender), ...u32(receiver), ...vi(offset), ...vi(total), ...vi(bytes.length), ...bytes]
}

export interface HandFrame {
  readonly type: number
  /** Numeric fields in order. */
  readonly fields: readonly number[]
  readonly bytes: Uint8Array
}

/** Reads a plaintext the endpoint wrote; PADDING is left out. Throws where the table is not kept: the endpoint may not write such a thing. */
export function readHandFrames(plain: Uint8Array): HandFrame[] {
  const frames: HandFrame[] = []
  let at = 0
  const u8 = (): number => {
    if (at >= plain.length) throw new Error('frame runs over the end')
    return plain[at++]!
  }
  const number = (): number => {
    const first = u8()
    let value = first & 0x3f
    for (let more = (1 << (first >>> 6)) - 1; more > 0; more--) value = value * 256 + u8()
    return value
  }
  const take = (length: number): Uint8Array => {
    if (at + length > plain.length) throw new Error('frame runs over the end')
    at += length
    return plain.slice(at - length, at)
  }
  const numbers = (count: number): number[] => Array.from({ length: count }, number)
  const push = (type: number, fields: number[], bytes: Uint8Array = new Uint8Array(0)): void => { frames.push({ type, fields, bytes }) }
  const readAck = (type: number): void => {
    const fields = numbers(4)
    push(type, [...fields, ...numbers(2 * fields[2]!), ...(type & 1 ? numbers(3) : [])])
  }
  while (at < plain.length) {
    const start = at
    const type = number()
    if (type >= 0x40) {
      push(type, [], take(number()))
      continue
    }
    if (at !== start + 1) throw new Error('frame type is not in its shortest form')
    switch (type) {
      case 0x00: break
      case 0x01: push(type, []); break
      case 0x02: case 0x03: readAck(type); break
      case 0x04: case 0x05: take(4); readAck(type); break
      case 0x06: case 0x08: push(type, numbers(1)); break
      case 0x07: case 0x09: case 0x21: push(type, numbers(2)); break
      case 0x0a: case 0x0b: push(type, [], take(8)); break
      case 0x0c: push(type, numbers(1), take(u8() === 4 ? 6 : 18)); break
      case 0x0e: { const [op, round, mode, nat] = [u8(), ...numbers(1), u8(), u8()]; push(type, [op, round, mode, nat!, ...numbers(3)]); break }
      case 0x0d: { const head = numbers(2); for (let i = 0; i < head[1]!; i++) { take(4); take(u8() === 4 ? 6 : 18) } push(type, head); break }
      case 0x10: case 0x11: case 0x12: case 0x13: {
        const fields = numbers(type & 2 ? 4 : 2)
        push(type, fields, take(type & 1 ? number() : plain.length - at))
        break
      }
      case 0x0f: { const head = [u8(), u8(), readU32(take(4), 0), readU32(take(4), 0), ...numbers(2)]; push(type, head, take(number())); break }
      case 0x14: push(type, numbers(3)); break
      case 0x20: { const fields = [number(), u8(), u8(), u8(), number()]; take(u8()); push(type, fields, take(number())); break }
      case 0x22: push(type, [number(), u8(), number(), number(), number()], take(u8())); break
      case 0x31: push(type, numbers(1), take(32)); break
      case 0x32: { const op = u8(); push(type, [op], take([32, 16, 16, 0, 0][op] ?? 0)); break }
      case 0x3f: push(type, numbers(2), take(u8())); break
      default: throw new Error(`frame 0x${type.toString(16)} is not of this version`)
    }
  }
  return frames
}
