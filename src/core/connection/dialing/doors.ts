import { isIPv4 } from '../../base/address.ts'
import { addressClass } from '../../base/address-class.ts'
import type { LinkId } from '../../base/domain.ts'
import type { Instant } from '../../base/time.ts'
import type { Dial, DialTarget } from './dial-campaign.ts'
import type { SessionState } from '../state.ts'

/**
 * Who joined by an invite dials before the other side can know of it (decision 137). A router over there may remember what it did not let in, and give the other
 * side's own first datagram to here another port then. So a first message A goes from our usual socket with a TTL by which it passes our own routers and no others: it opens
 * the door. Whether somebody answers is asked from a socket of its own, the scout, whose port is nobody's door.
 */

/** [P] More than there are routers of a home and its provider; a path through the public net has more. */
const DOOR_TTL = 8
/** Addresses that the scout asks at. */
export const SCOUTED_MAX = 4

/** Whether a new target of this dial is only to be opened a door to. */
export function isDoor(state: SessionState, dial: Dial, link: LinkId, address: Uint8Array): boolean {
  return dial.early && state.host.link(link)?.setsTtl === true && isIPv4(address) && addressClass(address) === 'global'
}

/** TTL of a datagram to this target; 0: the socket's own. */
export function ttlTo(now: Instant, dial: Dial, target: DialTarget): number {
  return target.door && now < dial.doorsUntil ? DOOR_TTL : 0
}

/** Asks for the scout, once, where there are doors. */
export function callScout(state: SessionState, dial: Dial): void {
  if (dial.scoutToken === undefined && dial.targets.some(({ door }) => door)) dial.scoutToken = state.host.openScout(state.slot)
}

/** Somebody answered the scout, or there is none: the usual socket asks from now on. */
export function openDoors(state: SessionState, dial: Dial): void {
  endScout(state, dial)
  dial.early = false
  for (let i = dial.targets.length - 1; i >= 0; i--) {
    if (dial.targets[i]!.scout) dial.targets.splice(i, 1)
    else dial.targets[i]!.door = false
  }
}

/** Nobody asks any more. */
export function endScout(state: SessionState, dial: Dial): void {
  if (dial.scout !== undefined) state.host.closeLink(dial.scout)
  else if (dial.scoutToken !== undefined) state.host.cancelDial(dial.scoutToken)
  dial.scout = undefined
}
