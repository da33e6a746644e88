import type { Now } from '../../base/time.ts'
import type { AeadBatch } from '../../crypto/aead-batch.ts'
import { writePing } from '../packets/control-frames.ts'
import type { Keys } from '../keys/keys.ts'
import { beginPacket, finishPacket, hasSlabRoom, packet, pushRow, type BurstSink } from '../packets/packet.ts'
import type { SessionPath } from './session-path.ts'
import type { SessionState } from '../state.ts'

/** PING and padding of the size to be tried, if one is due and the window is open; true when it was written. */
export function writeMtuProbe(state: SessionState, now: Now, keys: Keys, path: SessionPath, sink: BurstSink, seals: AeadBatch): boolean {
  const size = path.mtu.nextProbe(now.mono)
  if (size === 0) return false
  const { inFlight, controller } = path.recovery
  // It may reach beyond the window: a full one never has room for the whole of it.
  if (inFlight >= controller.window || !state.sent.room || seals.count >= seals.capacity) return false
  if (state.host.linkBlocked(path.link) || !hasSlabRoom(sink, size)) return false
  beginPacket(state, sink, size)
  writePing(state, now.mono)
  state.host.arena.bytes.fill(0, packet.position, packet.end)
  packet.position = packet.end
  const length = finishPacket(state, now, keys, path, sink, seals, 0, true)
  path.mtu.onProbeSent(now.mono, state.sent.next - 1)
  pushRow(state, now, sink, path, length, length)
  state.host.counters.add('mtu_probes_sent')
  return true
}
