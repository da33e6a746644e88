/**
 * Initiation stamps (WIRE.md §3.7): TAI64N, 12 bytes big-endian, 8 of seconds and 4 of nanoseconds, so that bytewise order is
 * order in time. A responder refuses what is not greater than the greatest it confirmed: replayed first messages die there.
 */
import { compareBytes } from '../base/bytes.ts'
import type { WallTime } from '../base/time.ts'

export const STAMP_SIZE = 12

/** TAI64 counts from 2^62; TAI was 10 s ahead of UTC in 1970. Leap seconds are ignored, as in WireGuard: only order matters. */
const SECONDS_HIGH_BASE = 0x4000_0000
const TAI_OFFSET = 10
/** The nanoseconds are rounded down to 2^24 ns (17 ms), so that a stamp tells little of a clock's exact rate and offset. */
const NANOSECOND_MASK = ~0xff_ffff
const NANOSECONDS = 1_000_000_000

/** The stamp of a clock reading, rounded down. Readings before 1970 count as 1970. */
export function stampOf(wall: WallTime): Uint8Array {
  const milliseconds = Math.max(0, wall)
  const seconds = Math.floor(milliseconds / 1000)
  const nanoseconds = Math.floor((milliseconds - seconds * 1000) * 1_000_000) & NANOSECOND_MASK
  return encodeStamp(seconds + TAI_OFFSET, nanoseconds)
}

/** max(clock, last + 1 ns): rises even if the clock stands still or goes back. `last` is the latest stamp sent to this peer. */
export function nextStamp(wall: WallTime, last: Uint8Array | undefined): Uint8Array {
  const clock = stampOf(wall)
  if (last === undefined || compareStamps(clock, last) > 0) return clock
  return successor(last)
}

/** Negative, zero or positive, as the first is earlier, equal or later. */
export function compareStamps(one: Uint8Array, other: Uint8Array): number {
  return compareBytes(one, other)
}

/** The greater of two stamps, of which the first may be missing. */
export function laterStamp(one: Uint8Array | undefined, other: Uint8Array): Uint8Array {
  return one !== undefined && compareStamps(one, other) > 0 ? one : other
}

function encodeStamp(seconds: number, nanoseconds: number): Uint8Array {
  const stamp = new Uint8Array(STAMP_SIZE)
  const view = new DataView(stamp.buffer)
  view.setUint32(0, SECONDS_HIGH_BASE + Math.floor(seconds / 0x1_0000_0000))
  view.setUint32(4, seconds >>> 0)
  view.setUint32(8, nanoseconds)
  return stamp
}

function successor(stamp: Uint8Array): Uint8Array {
  const next = stamp.slice()
  const view = new DataView(next.buffer)
  const nanoseconds = view.getUint32(8) + 1
  if (nanoseconds < NANOSECONDS) {
    view.setUint32(8, nanoseconds)
    return next
  }
  view.setUint32(8, 0)
  const low = view.getUint32(4) + 1
  view.setUint32(4, low)
  if (low > 0xffff_ffff) view.setUint32(0, view.getUint32(0) + 1)
  return next
}
