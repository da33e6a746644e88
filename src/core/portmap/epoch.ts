import { second, type Instant } from '../base/time.ts'

/** What the router's clock showed, and when. Seconds since it began; it begins anew when mappings were lost. */
export interface Epoch {
  readonly value: number
  readonly at: Instant
}

/** Whether a PCP server that showed `before` and shows `value` now lost its state in between (RFC 6887 §8.5). */
export function pcpRestarted(before: Epoch | undefined, value: number, now: Instant): boolean {
  if (before === undefined) return false
  // Two answers may overtake each other.
  if (value < before.value - 1) return true
  const client = (now - before.at) / second
  const server = value - before.value
  return client + 2 < server - server / 16 || server + 2 < client - client / 16
}

/** The same of a NAT-PMP server (RFC 6886 §3.6): its clock may be an eighth slow, and as fast as it likes. */
export function natPmpRestarted(before: Epoch | undefined, value: number, now: Instant): boolean {
  return before !== undefined && value < before.value + (7 / 8) * ((now - before.at) / second) - 2
}
