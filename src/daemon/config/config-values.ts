import { isIP } from 'node:net'
import { parseAddress, type HostPort } from '../../core/base/address.ts'
import { hour, microsecond, millisecond, minute, second, type Duration } from '../../core/base/time.ts'

/** What a TOML value is read as, or what is wrong with it: the end of a sentence that begins with the key's name. */
export type Parsed<T> = { readonly value: T } | { readonly wrong: string }
export type Parser<T> = (input: unknown) => Parsed<T>

const durationUnits = { us: microsecond, ms: millisecond, s: second, m: minute, min: minute, h: hour, d: 24 * hour } as const
const sizeUnits = { b: 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3, kb: 1000, mb: 1000 ** 2, gb: 1000 ** 3 } as const
const QUANTITY = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]+)$/i

/** `"250ms"`, `"20s"`, `"15min"`, `"2h"`, or a number of seconds. A multiple of `step`, so that nothing is rounded in silence. */
export function duration(range: { min: string; max: string; off?: boolean; step?: Duration }): Parser<Duration> {
  const [min, max, step] = [durationOf(range.min), durationOf(range.max), range.step ?? 1]
  const allowed = `a duration from "${range.min}" to "${range.max}"${range.off === true ? ' or "off"' : ''}`
  return (input) => {
    if (range.off === true && (input === 'off' || input === 0 || input === '0' || input === '0s')) return { value: 0 }
    const value = typeof input === 'number' ? input * second : quantity(input, durationUnits)
    if (value === undefined) return wrong(`${allowed} ("250ms", "20s", "15min", "2h", or a number of seconds)`, input)
    if (!(value >= min && value <= max)) return wrong(allowed, input)
    return value % step === 0 ? { value } : wrong(`${allowed} in steps of ${formatDuration(step)}`, input)
  }
}

/** `"64KiB"`, `"8MiB"`, `"10MB"`, or a number of bytes; the result is a whole number, rounded up to a multiple of `multiple`. */
export function size(range: { min: string; max: string; multiple?: string }): Parser<number> {
  const [min, max] = [sizeOf(range.min), sizeOf(range.max)]
  const multiple = range.multiple === undefined ? 1 : sizeOf(range.multiple)
  const allowed = `a size from "${range.min}" to "${range.max}"`
  return (input) => {
    const value = typeof input === 'number' ? input : quantity(input, sizeUnits)
    if (value === undefined) return wrong(`${allowed} ("64KiB", "8MiB", "10MB", or a number of bytes)`, input)
    if (!(value >= min && value <= max)) return wrong(allowed, input)
    return { value: Math.ceil(value / multiple) * multiple }
  }
}

export function wholeNumber(min: number, max: number): Parser<number> {
  return (input) => (
    typeof input === 'number' && Number.isInteger(input) && input >= min && input <= max ? { value: input } : wrong(`a whole number from ${min} to ${max}`, input)
  )
}

/** A share of one, as `0.25` or `"25%"`. */
export function share(min: number, max: number): Parser<number> {
  return (input) => {
    const percent = typeof input === 'string' ? /^(\d{1,3}(?:\.\d{1,6})?)\s*%$/.exec(input) : null
    const value = percent === null ? input : Number(percent[1]) / 100
    return typeof value === 'number' && value >= min && value <= max ? { value } : wrong(`a share from ${min} to ${max}, or a percentage such as "25%"`, input)
  }
}

export function yesNo(input: unknown): Parsed<boolean> {
  return typeof input === 'boolean' ? { value: input } : wrong('true or false', input)
}

/** One of some words. What was written is not repeated where it may be a secret in the wrong place. */
export function oneOf<const Word extends string>(words: readonly Word[], options: { quiet?: boolean } = {}): Parser<Word> {
  const allowed = words.map((word) => `"${word}"`).join(' or ')
  return (input) => {
    const word = words.find((candidate) => candidate === input)
    if (word !== undefined) return { value: word }
    return options.quiet === true ? { wrong: `must be ${allowed}` } : wrong(allowed, input)
  }
}

/** A path; the empty one means that none is set. */
export function path(input: unknown): Parsed<string | undefined> {
  if (typeof input !== 'string' || input.includes('\0')) return { wrong: 'must be a path in quotes, or "" for none' }
  return { value: input === '' ? undefined : input }
}

/** A list of at most `max` items, each as `item` wants it; a repeated one is refused. */
export function list<T>(item: Parser<T>, options: { min: number; max: number; of: string }): Parser<readonly T[]> {
  return (input) => {
    if (!Array.isArray(input)) return wrong(`a list of ${options.of}`, input)
    if (input.length < options.min || input.length > options.max) return { wrong: `must list ${options.min} to ${options.max} ${options.of}, but lists ${input.length}` }
    const values: T[] = []
    for (const entry of input as readonly unknown[]) {
      const parsed = item(entry)
      if ('wrong' in parsed) return { wrong: `must be a list of ${options.of}: an entry ${parsed.wrong}` }
      values.push(parsed.value)
    }
    return new Set(input).size === input.length ? { value: values } : { wrong: `must not list the same one of its ${options.of} twice` }
  }
}

export function ipLiteral(input: unknown): Parsed<string> {
  return typeof input === 'string' && isIP(input) !== 0 ? { value: input } : wrong('an IP address such as "192.0.2.1" or "::"', input)
}

/** `"203.0.113.7"`, `"203.0.113.7:7000"`, `"[2001:db8::1]:7000"`; port 0 when it names none, for the port of the socket. */
export function advertised(input: unknown): Parsed<HostPort> {
  const expected = 'an address such as "203.0.113.7", "203.0.113.7:7000" or "[2001:db8::1]:7000"'
  if (typeof input !== 'string') return wrong(expected, input)
  if (isIP(input) !== 0 && !input.includes('%')) return { value: { host: input, port: 0 } }
  const port = Number(/:(\d{1,5})$/.exec(input)?.[1])
  const host = input.slice(0, input.lastIndexOf(':')).replace(/^\[|\]$/g, '')
  return parseAddress(input) === undefined || port === 0 ? wrong(expected, input) : { value: { host, port } }
}

/** RFC 8489 §18.6. */
const STUN_PORT = 3478
/** RFC 1123 §2.1: labels of letters, digits and hyphens. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i

/** `"stun.example.org"`, `"stun.example.org:3478"`, `"192.0.2.1:3478"`, `"[2001:db8::1]:3478"`; the port of STUN when it names none. */
export function stunServer(input: unknown): Parsed<HostPort> {
  const expected = 'a server such as "stun.example.org", "stun.example.org:3478" or "[2001:db8::1]:3478"'
  if (typeof input !== 'string') return wrong(expected, input)
  if (isIP(input) !== 0 && !input.includes('%')) return { value: { host: input, port: STUN_PORT } }
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(input)
  const host = match?.[1]?.replace(/^\[|\]$/g, '') ?? ''
  const port = match?.[2] === undefined ? STUN_PORT : Number(match[2])
  // What ends in a number is an address or nothing (RFC 3696 §2).
  const named = HOST_NAME.test(host) && !/(^|\.)\d+$/.test(host)
  return (named || isIP(host) !== 0) && port > 0 && port <= 65_535 ? { value: { host, port } } : wrong(expected, input)
}

/** `"http://host/path"`, or `""` for none: a gate answers in place of others only where nothing is encrypted. */
export function plainUrl(input: unknown): Parsed<string | undefined> {
  if (input === '') return { value: undefined }
  const url = typeof input === 'string' && input.startsWith('http://') && URL.canParse(input) ? new URL(input) : undefined
  return url === undefined || url.username !== '' || url.password !== '' ? wrong('an address such as "http://example.org/generate_204", or "" for none', input) : { value: url.href }
}

/** A short name of printable characters, as apps and scopes have. */
export function matching(pattern: RegExp, expected: string): Parser<string> {
  return (input) => (typeof input === 'string' && pattern.test(input) ? { value: input } : wrong(expected, input))
}

/** The largest unit that leaves a whole number. */
export function formatDuration(value: Duration): string {
  const units = [['d', 24 * hour], ['h', hour], ['min', minute], ['s', second], ['ms', millisecond]] as const
  for (const [unit, scale] of units) {
    if (value >= scale && value % scale === 0) return `${value / scale}${unit}`
  }
  return `${value}us`
}

export function formatSize(value: number): string {
  const units = [['GiB', 1024 ** 3], ['MiB', 1024 ** 2], ['KiB', 1024]] as const
  for (const [unit, scale] of units) {
    if (value >= scale && value % scale === 0) return `${value / scale}${unit}`
  }
  return `${value}B`
}

function quantity(input: unknown, units: Readonly<Record<string, number>>): number | undefined {
  const match = typeof input === 'string' ? QUANTITY.exec(input.trim()) : null
  const scale = match === null ? undefined : units[match[2]!.toLowerCase()]
  // Rounded, because 0.1 s in doubles is not exactly 100,000 µs.
  return scale === undefined ? undefined : Math.round(Number(match![1]) * scale)
}

function durationOf(text: string): Duration {
  return quantity(text, durationUnits)!
}

function sizeOf(text: string): number {
  return quantity(text, sizeUnits)!
}

function wrong(expected: string, input: unknown): { wrong: string } {
  return { wrong: `must be ${expected}, but is ${show(input)}` }
}

/** What was written, short enough for one line. */
function show(input: unknown): string {
  const text = JSON.stringify(input, (_key, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value)) as string | undefined
  if (text === undefined) return typeof input
  return text.length <= 60 ? text : `${text.slice(0, 57)}…`
}
