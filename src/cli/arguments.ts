/** What people type behind options, checked before anything else happens. Each throws `params` with an example of what it takes. */
import { ipcModes, type IpcMode } from '../core/wire/ipc/ipc-methods.ts'
import { PosternError } from '../core/base/errors.ts'
import { parseAddress } from '../core/base/address.ts'
import { ipcPathKinds, type IpcPathKind } from '../core/wire/ipc/ipc-policy.ts'

const SECONDS_MAX = 366 * 86_400
const COUNT_MAX = 1_000_000_000
const INTERVAL_MIN_MS = 10
const INTERVAL_MAX_MS = 3_600_000
const NAME_BYTES_MAX = 64

/** Seconds of `90`, `30s`, `15min`, `12h`, `7d`. */
export function parseSeconds(text: string, option: string): number {
  const match = /^(\d{1,9})\s*(s|min|h|d)?$/.exec(text)
  const unit = { s: 1, min: 60, h: 3600, d: 86_400 }[match?.[2] ?? 's']
  if (match === null || unit === undefined) throw wrong(`"${text}" is not a duration for ${option}.`, 'For example: 30min, 12h, 7d')
  const seconds = Number(match[1]) * unit
  if (seconds > SECONDS_MAX) throw wrong(`"${text}" is too long for ${option}.`, 'At most 366d.')
  return seconds
}

/** A whole number from `min` on. */
export function parseCount(text: string, option: string, min = 1): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN
  if (!(value >= min && value <= COUNT_MAX)) throw wrong(`"${text}" is not a whole number ${min === 0 ? '' : `above ${min - 1} `}for ${option}.`, `For example: ${option} ${Math.max(min, 5)}`)
  return value
}

/** Milliseconds of `1`, `0.2`, `200ms`, `5s`, `1min`: a pause between two of something, from 10 ms to an hour. */
export function parseInterval(text: string, option: string): number {
  const match = /^(\d{1,7}(?:\.\d{1,6})?)\s*(ms|s|min)?$/.exec(text)
  const value = match === null ? NaN : Number(match[1]) * { ms: 1, s: 1000, min: 60_000 }[(match[2] ?? 's') as 'ms' | 's' | 'min']
  if (!(value >= INTERVAL_MIN_MS && value <= INTERVAL_MAX_MS)) throw wrong(`"${text}" is not a pause for ${option}: 10ms to 60min.`, `For example: ${option} 0.2, ${option} 200ms, ${option} 5s`)
  return value
}

/** A name of a peer as the roster takes it: 1 to 64 bytes that can be printed on one line. */
export function parsePeerName(text: string, option: string): string {
  const bytes = Buffer.byteLength(text)
  if (bytes === 0 || bytes > NAME_BYTES_MAX || /[\p{Cc}\p{Cs}]/u.test(text) || text.trim() !== text) {
    throw wrong(`${JSON.stringify(text)} is not a name for ${option}.`, `1 to ${NAME_BYTES_MAX} bytes of text on one line, without spaces around it.`)
  }
  return text
}

export function parsePeerAddress(text: string, option: string): string {
  if (parseAddress(text) === undefined) throw wrong(`"${text}" is not an address for ${option}.`, 'An IP address and a port: 192.0.2.1:7000 or [2001:db8::1]:7000')
  return text
}

/** A kind of path, as policies name it. */
export function parsePathKind(text: string, option: string): IpcPathKind {
  const kind = ipcPathKinds.find((known) => known === text)
  if (kind === undefined) throw wrong(`"${text}" is not a kind of path for ${option}.`, `One of: ${ipcPathKinds.join(', ')}`)
  return kind
}

export function parseAppName(text: string, option: string): string {
  if (!/^[a-z0-9._/-]{1,64}$/.test(text)) throw wrong(`"${text}" is not an app name for ${option}.`, '1 to 64 of a-z 0-9 . _ / -')
  return text
}

export function parseMode(text: string, option: string): IpcMode {
  const mode = ipcModes.find((name) => name === text)
  if (mode === undefined) throw wrong(`"${text}" is not a delivery mode for ${option}.`, `One of ${ipcModes.join(', ')}`)
  return mode
}

function wrong(message: string, hint: string): PosternError {
  return new PosternError('params', message, { hint })
}
