/**
 * What of a peer's frames gets through to the packages. They believe the lengths they are told: a list whose entries have no length keeps noble in a loop until
 * its memory is full, prepared writes make bleno's grow for as long as they come, and requests for another interval become commands without number. Here each
 * frame is judged before a package sees it, by what the specification says of its length and by what a link of ours needs.
 */
import { readU16, writeU16 } from '../../../core/base/bytes.ts'
import { l2capChannel } from '../../../core/wire/hci.ts'
import { MTU_MAX, MTU_MIN, type DropReason, type Role } from '../backend.ts'

/** pass: for the package · end: a frame that none who speaks the protocol sends · otherwise it is dropped, with what is said to it. All but the first are counted. */
export type Verdict = 'pass' | { readonly end: DropReason } | { readonly drop: DropReason; readonly answer?: Uint8Array }

/** ATT opcodes (vol 3 part F §3.4.8). */
const ATT = {
  error: 0x01, mtuRequest: 0x02, mtuResponse: 0x03, findInformation: 0x04, foundInformation: 0x05, findByType: 0x06, foundByType: 0x07, readByType: 0x08, haveByType: 0x09,
  read: 0x0a, haveRead: 0x0b, readBlob: 0x0c, haveBlob: 0x0d, readByGroup: 0x10, haveByGroup: 0x11, write: 0x12, haveWritten: 0x13, prepareWrite: 0x16, executeWrite: 0x18,
  notification: 0x1b, indication: 0x1d, confirmation: 0x1e, writeCommand: 0x52,
} as const
/** Commands are never answered. */
const IS_COMMAND = 0x40
const NOT_SUPPORTED = 0x06
/** vol 3 part A §4: codes of signaling. Requests must be answered, even if with a reject. */
const SIGNAL = { reject: 0x01, updateRequest: 0x12, updateResponse: 0x13 } as const
const signalRequests: ReadonlySet<number> = new Set([0x02, 0x06, 0x0a, SIGNAL.updateRequest, 0x14, 0x17, 0x19])
/** What a link may be changed to: at most 500 ms in units of 1.25 ms, at most 6 s in units of 10 ms. Slower ones are of no use, and would outlive what we wait for. */
const INTERVAL_MAX = 400
const SUPERVISION_MAX = 600
/** vol 3 part H §3.3: what a request to pair is refused with. Nothing of ours needs pairing, and the packages' code for it is not reached. */
const PAIRING_REQUEST = 0x01
const PAIRING_NOT_SUPPORTED = Uint8Array.of(0x05, 0x05)

/** Whether a request to change the parameters of the link may be passed on is the caller's to know: one at a time. `payload` may be changed. */
export function judge(role: Role, channel: number, payload: Uint8Array, updating: boolean): Verdict {
  if (payload.length === 0) return { end: 'l2cap' }
  switch (channel) {
    case l2capChannel.att:
      return role === 'central' ? judgeForClient(payload) : judgeForServer(payload)
    case l2capChannel.signaling:
      return judgeSignal(role, payload, updating)
    case l2capChannel.security:
      return payload[0] === PAIRING_REQUEST ? { drop: 'security', answer: PAIRING_NOT_SUPPORTED } : { drop: 'security' }
    default:
      return { drop: 'l2cap' }
  }
}

/** Requests of who dialed us. */
function judgeForServer(pdu: Uint8Array): Verdict {
  const code = pdu[0]!
  const { length } = pdu
  switch (code) {
    case ATT.mtuRequest:
    case ATT.read:
      return length === 3 ? 'pass' : { end: 'att' }
    case ATT.findInformation:
    case ATT.readBlob:
      return length === 5 ? 'pass' : { end: 'att' }
    case ATT.findByType:
      return length > 7 ? 'pass' : { end: 'att' }
    case ATT.readByType:
    case ATT.readByGroup:
      return length === 7 || length === 21 ? 'pass' : { end: 'att' }
    case ATT.write:
    case ATT.writeCommand:
      return length >= 3 ? 'pass' : { end: 'att' }
    case ATT.confirmation:
      // We indicate nothing.
      return { drop: 'att' }
    default:
      // Values of ours fit into one write: whatever is longer and prepared in parts has no place to grow in.
      if ((code & IS_COMMAND) !== 0 || code % 2 === 1) return { drop: 'att' }
      return { drop: 'att', answer: Uint8Array.of(ATT.error, code, length >= 3 ? pdu[1]! : 0, length >= 3 ? pdu[2]! : 0, NOT_SUPPORTED) }
  }
}

/** Answers and values of whom we dialed. */
function judgeForClient(pdu: Uint8Array): Verdict {
  const code = pdu[0]!
  const { length } = pdu
  const passIf = (is: boolean): Verdict => (is ? 'pass' : { end: 'att' })
  switch (code) {
    case ATT.error:
      return passIf(length === 5)
    case ATT.mtuResponse:
      if (length === 3) writeU16(pdu, 1, Math.max(MTU_MIN, Math.min(MTU_MAX, readU16(pdu, 1))))
      return passIf(length === 3)
    case ATT.foundInformation:
      return passIf(pdu[1] === 1 ? isList(length, 4) : pdu[1] === 2 && isList(length, 18))
    case ATT.haveByType:
      return passIf(pdu[1]! >= 3 && isList(length, pdu[1]!))
    case ATT.haveByGroup:
      return passIf((pdu[1] === 6 || pdu[1] === 20) && isList(length, pdu[1]))
    case ATT.haveRead:
    case ATT.haveBlob:
      return 'pass'
    case ATT.haveWritten:
      return passIf(length === 1)
    case ATT.notification:
      return passIf(length >= 3)
    case ATT.indication:
      // noble queues what it confirms behind what it asks, without bounds; of ours none is indicated.
      return length >= 3 ? { drop: 'att', answer: Uint8Array.of(ATT.confirmation) } : { end: 'att' }
    case ATT.mtuRequest:
      return passIf(length === 3)
    default:
      if ((code & IS_COMMAND) !== 0 || code % 2 === 1) return { drop: 'att' }
      return { drop: 'att', answer: Uint8Array.of(ATT.error, code, 0, 0, NOT_SUPPORTED) }
  }
}

/** Opcode, length of the entries, and at least one, all whole. */
function isList(length: number, entry: number): boolean {
  return length > 2 && (length - 2) % entry === 0
}

/** code u8 | identifier u8 | length u16 | data: one in each frame (vol 3 part A §4). */
function judgeSignal(role: Role, frame: Uint8Array, updating: boolean): Verdict {
  const code = frame[0]!
  if (frame.length < 4 || readU16(frame, 2) !== frame.length - 4) return { end: 'signaling' }
  const identifier = frame[1]!
  if (code !== SIGNAL.updateRequest || role === 'peripheral') {
    return signalRequests.has(code) ? { drop: 'signaling', answer: Uint8Array.of(SIGNAL.reject, identifier, 2, 0, 0, 0) } : { drop: 'signaling' }
  }
  if (frame.length !== 12) return { end: 'signaling' }
  const [high, supervision] = [readU16(frame, 6), readU16(frame, 10)]
  if (!updating && high <= INTERVAL_MAX && supervision <= SUPERVISION_MAX) return 'pass'
  return { drop: 'signaling', answer: Uint8Array.of(SIGNAL.updateResponse, identifier, 2, 0, 1, 0) }
}
