import { equalBytes } from '../../base/bytes.ts'
import { closeCodes } from '../../wire/frame.ts'
import { FRAME_PAIR, pairDataSize, pairOps, type PairOp } from '../../wire/pair-frame.ts'
import { pairCode, pairCommit, verifyPairCommit } from '../../session/pairing.ts'
import { RECORD_PAIR } from '../../flow/sent-packets.ts'
import { packet, packetFits } from '../packets/packet.ts'
import type { PairingExchange } from './pairing-exchange.ts'
import type { SessionState } from '../state.ts'

/** Writes what is due of the exchange; lost, it goes again. */
export function writePairing({ host, sent }: SessionState, pairing: PairingExchange): void {
  for (const [number, op] of pairOps.entries()) {
    const size = 2 + pairDataSize(op)
    if ((pairing.wanted >> number & 1) === 0 || !packetFits(size)) continue
    const { bytes } = host.arena
    bytes[packet.position] = FRAME_PAIR
    bytes[packet.position + 1] = number
    if (op === 'commit') bytes.set(pairCommit(host.provider, pairing.h, pairing.nonce), packet.position + 2)
    else if (op === 'nonce' || op === 'reveal') bytes.set(pairing.nonce, packet.position + 2)
    packet.position += size
    sent.addFrame(RECORD_PAIR, number, 0, 0, 0)
    packet.eliciting = true
    packet.app = true
    pairing.wanted &= ~(1 << number)
  }
}

/** The peer's step, which may come twice. One that does not come in its turn ends the session: nobody has a reason to send it. */
export function onPairFrame(state: SessionState, op: PairOp, data: Uint8Array): void {
  const { pairing } = state
  // Done already, or never wanted: a peer may be behind by a round trip.
  if (pairing === undefined) return
  const wrong = (): void => { state.fail(closeCodes.protocol, FRAME_PAIR, 'pairing out of turn') }
  switch (op) {
    case 'commit':
      if (pairing.commit !== undefined && equalBytes(pairing.commit, data)) return
      if (!pairing.initiator || pairing.state !== 'begun') return wrong()
      pairing.commit = data.slice()
      pairing.state = 'answered'
      pairing.want('nonce')
      return
    case 'nonce':
      if (pairing.peerNonce !== undefined && equalBytes(pairing.peerNonce, data)) return
      if (pairing.initiator || pairing.state !== 'begun') return wrong()
      pairing.want('reveal')
      pairing.peerNonce = data.slice()
      compare(state, pairing, data, pairing.nonce)
      return
    case 'reveal':
      if (pairing.peerNonce !== undefined && equalBytes(pairing.peerNonce, data)) return
      if (!pairing.initiator || pairing.state !== 'answered') return wrong()
      if (!verifyPairCommit(state.host.provider, pairing.h, data, pairing.commit!)) {
        state.host.counters.add('pairings_forged')
        return wrong()
      }
      pairing.peerNonce = data.slice()
      compare(state, pairing, pairing.nonce, data)
      return
    case 'accept':
      // It may overtake the reveal, if that was lost. A yes to what nobody can have seen yet is none.
      if (pairing.state === 'begun') return wrong()
      pairing.peerAccepted = true
      finish(state, pairing)
      return
    case 'reject':
      state.fail(closeCodes.not_admitted, 0, '')
  }
}

function compare(state: SessionState, pairing: PairingExchange, initiatorNonce: Uint8Array, responderNonce: Uint8Array): void {
  pairing.state = 'compared'
  pairing.code = pairCode(state.host.provider, pairing.h, initiatorNonce, responderNonce)
  state.host.emit({ kind: 'pairing', peer: state.peer, code: pairing.code })
}

/** The user says that the codes are equal. False before there is one. */
export function acceptPairing(state: SessionState): boolean {
  const { pairing } = state
  if (pairing?.state !== 'compared') return false
  if (!pairing.accepted) pairing.want('accept')
  pairing.accepted = true
  finish(state, pairing)
  return true
}

function finish(state: SessionState, pairing: PairingExchange): void {
  if (pairing.accepted && pairing.peerAccepted) state.host.paired(state.peer)
}

/** Both have said yes, and the last word is on its way: the session is one of friends. */
export function endPairing(state: SessionState): void {
  const { pairing } = state
  if (pairing === undefined) return
  state.restricted = false
  state.candidatesWanted = state.host.candidates.generation > 0
}
