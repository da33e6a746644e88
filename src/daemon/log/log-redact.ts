import { PosternError } from '../../core/base/errors.ts'
import { fromUtf8 } from '../../core/base/bytes.ts'

const HIDDEN = '[hidden]'
const DEPTH_MAX = 4
const ITEMS_MAX = 32
const TEXT_MAX = 2_000
/** Looked at for secrets: far enough beyond the cut that a secret across it is still whole. */
const TEXT_READ_MAX = 16_384
/** What is too short to be a secret would blank out ordinary words. */
const SECRET_LENGTH_MIN = 4
const SECRETS_MAX = 64

/** Names of fields that hold secrets wherever they occur. `key` alone too: a configuration key is logged as `setting`. */
const secretName = /secret|token|pass_?phrase|password|passwd|credential|authorization|private|seed|psk|proof|(?:^|_)keys?$|[a-z]Keys?$/i

/** What no shape below fits has none of this: most texts are done with after one look. */
const suspicious = /[A-Z]|pk_|postern:|[0-9a-f]{32}/
/** What looks like a secret of ours wherever it stands. */
const secretShapes: readonly (readonly [RegExp, string])[] = [
  [/\bpostern:\d+\/[A-Za-z0-9_-]+/g, `postern:${HIDDEN}`], // an invite link carries its token
  [/\bpk_[A-Za-z0-9_-]{4,}/g, `pk_${HIDDEN}`], // an API key
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*-----|$)/g, HIDDEN],
  [/\b[0-9a-fA-F]{32,}\b/g, HIDDEN], // 128 bits and more as hexadecimal
]
/** 128 bits and more as base64: a run with capitals, small letters and digits. Peer ids, which are public, have no capitals. */
const base64Run = /[A-Za-z0-9+/_-]{22,}={0,2}/g

/**
 * Makes anything fit to be logged: no secret by name, by shape or by value, no bytes, bounded in depth, width and length. It is the
 * second line of defence; the first is not to log secrets.
 */
export class Redactor {
  /** Exact values in the order they came. Bounded: when full, the oldest goes, which only its shape protects then. */
  #secrets: readonly string[] = []
  /** The same, so that a secret that contains another is found first and no part of it is left. */
  #longestFirst: readonly string[] = []

  /** From now on this value appears in no line, not even inside a longer text. */
  hide(secret: string | Uint8Array): void {
    const text = typeof secret === 'string' ? secret : fromUtf8(secret)
    if (text === undefined || text.length < SECRET_LENGTH_MIN || this.#secrets.includes(text)) return
    this.#secrets = [...this.#secrets.slice(-(SECRETS_MAX - 1)), text]
    this.#longestFirst = [...this.#secrets].sort((a, b) => b.length - a.length)
  }

  text(text: string): string {
    let clean = text.length <= TEXT_READ_MAX ? text : text.slice(0, TEXT_READ_MAX)
    for (const secret of this.#longestFirst) clean = clean.replaceAll(secret, HIDDEN)
    if (suspicious.test(clean)) {
      for (const [shape, replacement] of secretShapes) clean = clean.replace(shape, replacement)
      clean = clean.replace(base64Run, (run) => (isMixed(run) ? HIDDEN : run))
    }
    // Cut last: a cut secret would no longer be recognised.
    return clean.length <= TEXT_MAX ? clean : `${clean.slice(0, TEXT_MAX)}…`
  }

  fields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
    return this.#object(fields, 0)
  }

  #value(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'number':
        return Number.isFinite(value) ? value : String(value)
      case 'boolean':
      case 'undefined':
        return value
      case 'bigint':
        return String(value)
      case 'symbol':
      case 'function':
        return `[${typeof value}]`
      case 'object':
        return value === null ? null : this.#compound(value, depth)
    }
  }

  #compound(value: object, depth: number): unknown {
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return `[${value.byteLength} bytes]`
    if (value instanceof Date) return Number.isFinite(value.getTime()) ? value.toISOString() : 'invalid date'
    if (value instanceof URL) return this.text(value.href)
    if (depth >= DEPTH_MAX) return '[…]'
    if (value instanceof Error) return this.#error(value, depth)
    if (Array.isArray(value)) return this.#list(value as readonly unknown[], depth)
    if (value instanceof Set) return this.#list([...(value as ReadonlySet<unknown>)], depth)
    if (value instanceof Map) return this.#object(Object.fromEntries(value as ReadonlyMap<string, unknown>), depth)
    const prototype: unknown = Object.getPrototypeOf(value)
    // Of other classes, a KeyObject for one, only the name is known to be harmless.
    if (prototype !== Object.prototype && prototype !== null) return `[${value.constructor.name}]`
    return this.#object(value as Readonly<Record<string, unknown>>, depth)
  }

  #list(items: readonly unknown[], depth: number): unknown[] {
    const shown = items.slice(0, ITEMS_MAX).map((item) => this.#value(item, depth + 1))
    return items.length <= ITEMS_MAX ? shown : [...shown, `… ${items.length - ITEMS_MAX} more`]
  }

  #object(value: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
    const clean: [string, unknown][] = []
    for (const name of Object.keys(value)) {
      if (clean.length >= ITEMS_MAX) break
      // A getter may throw, and what it says is not worth a lost line.
      const shown = secretName.test(name) ? HIDDEN : attempt(() => this.#value(value[name], depth + 1))
      if (shown !== undefined) clean.push([this.text(name), shown])
    }
    return Object.fromEntries(clean)
  }

  /** The stack only where it says something that the message does not: our own bugs, not what a user or a machine refused. */
  #error(error: Error, depth: number): Record<string, unknown> {
    const clean: Record<string, unknown> = { message: this.text(error.message) }
    if ('code' in error && typeof error.code === 'string') clean['code'] = this.text(error.code)
    if (error instanceof PosternError) {
      if (error.hint !== undefined) clean['hint'] = this.text(error.hint)
    } else {
      clean['name'] = error.name
      if (!('code' in error) && error.stack !== undefined) clean['stack'] = this.text(error.stack)
    }
    if (error.cause !== undefined) clean['cause'] = this.#value(error.cause, depth + 1)
    return clean
  }
}

function isMixed(run: string): boolean {
  return /[a-z]/.test(run) && /[A-Z]/.test(run) && /[0-9]/.test(run)
}

function attempt(read: () => unknown): unknown {
  try {
    return read()
  } catch {
    return '[unreadable]'
  }
}
