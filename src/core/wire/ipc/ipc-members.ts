import { utf8 } from '../../base/bytes.ts'
import { PosternError } from '../../base/errors.ts'
import { INTRODUCE_APP, INTRODUCED_APP } from '../introduction.ts'
import { fromBase64 } from './ipc-base64.ts'
import type { JsonObject } from './ipc-json.ts'

const PEER_ID = /^[a-z2-7]{51}[aq]$/
/** What these say to peers, only the daemon says. */
const RESERVED: readonly string[] = [INTRODUCE_APP, INTRODUCED_APP]
const APP_NAME = /^[a-z0-9._/-]{1,64}$/
// Control characters would let a name forge lines of a log or of a terminal.
const PRINTABLE = /^[^\p{Cc}\p{Cs}]*$/u

/**
 * Reads the members of a JSON object that another side wrote. A member that is missing or wrong sets {@link failure} (the first
 * one stays) and reads as something harmless: read all members, then look at `failure` once. `null` counts as missing.
 */
export class MemberReader {
  failure: PosternError | undefined
  readonly #members: JsonObject

  constructor(members: JsonObject) {
    this.#members = members
  }

  /** As it was written; `undefined` where it is missing or null. */
  value(name: string): unknown {
    const value = Object.hasOwn(this.#members, name) ? this.#members[name] : undefined
    return value === null ? undefined : value
  }

  has(name: string): boolean {
    return this.value(name) !== undefined
  }

  /** What `read` says where the member is given, else `undefined`. */
  optional<T>(name: string, read: (name: string) => T): T | undefined {
    return this.has(name) ? read(name) : undefined
  }

  /** Printable text of at most `bytesMax` bytes in UTF-8. */
  text(name: string, bytesMax: number): string {
    const value = this.value(name)
    if (typeof value === 'string' && value.length <= bytesMax && utf8(value).length <= bytesMax && PRINTABLE.test(value)) return value
    this.fail(name, `printable text of at most ${bytesMax} bytes`)
    return ''
  }

  /** A whole number from `min` to `max`. */
  integer(name: string, min: number, max: number): number {
    const value = this.value(name)
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    this.fail(name, `a whole number from ${min} to ${max}`)
    return min
  }

  boolean(name: string): boolean {
    const value = this.value(name)
    if (typeof value === 'boolean') return value
    this.fail(name, 'true or false')
    return false
  }

  oneOf<T extends string>(name: string, values: readonly [T, ...T[]]): T {
    const value = this.value(name)
    const found = values.find((candidate) => candidate === value)
    if (found !== undefined) return found
    this.fail(name, `one of ${values.join(', ')}`)
    return values[0]
  }

  app(name: string): string {
    const value = this.value(name)
    if (typeof value === 'string' && APP_NAME.test(value) && !RESERVED.includes(value)) return value
    this.fail(name, 'an app name: 1 to 64 of a-z 0-9 . _ / -, and none of those of the daemon itself')
    return ''
  }

  /** The text form of a peer id. Whether it is a point on the curve is the endpoint's to say. */
  peerId(name: string): string {
    return this.#peerId(name, this.value(name))
  }

  peerIds(name: string, countMax: number): readonly string[] {
    return this.list(name, countMax, 'peer ids', (value) => this.#peerId(name, value))
  }

  /** An array of at most `countMax`, each read by `read`; `undefined` from it is a wrong element. */
  list<T>(name: string, countMax: number, what: string, read: (value: unknown) => T | undefined): readonly T[] {
    const value = this.value(name)
    if (!Array.isArray(value) || value.length > countMax) {
      this.fail(name, `an array of at most ${countMax} ${what}`)
      return []
    }
    const items: T[] = []
    for (const element of value as readonly unknown[]) {
      const item = read(element)
      if (item === undefined) this.fail(name, `an array of at most ${countMax} ${what}`)
      else items.push(item)
    }
    return items
  }

  base64(name: string, bytesMax: number): Uint8Array {
    const value = this.value(name)
    const bytes = typeof value === 'string' && value.length <= 2 * bytesMax ? fromBase64(value) : undefined
    if (bytes !== undefined && bytes.length <= bytesMax) return bytes
    this.fail(name, `base64 of at most ${bytesMax} bytes`)
    return new Uint8Array(0)
  }

  fail(name: string, expected: string): void {
    this.failure ??= new PosternError('params', `"${name}" must be ${expected}.`, { details: { member: name } })
  }

  /** A member or value of the specification that this version does not serve yet. */
  later(name: string, what: string): void {
    this.failure ??= new PosternError('params', `${what} comes with a later version of the daemon.`, { details: { member: name, later: true } })
  }

  #peerId(name: string, value: unknown): string {
    if (typeof value === 'string' && PEER_ID.test(value)) return value
    if (typeof value !== 'string') this.fail(name, 'a peer id')
    this.failure ??= new PosternError('bad_peer_id', `"${name}" is not a peer id.`, {
      hint: 'A peer id has 52 characters, a-z and 2-7, all lower case, the last one a or q. `postern id` prints one.', details: { member: name },
    })
    return ''
  }
}
