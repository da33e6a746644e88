import type { BenchCase, Sample, Tools } from './harness/case.ts'
import { Child } from './harness/child.ts'
import type { HandshakeCore } from './handshake-core-child.ts'

/** Until the compiler has seen everything. */
const WARM_UP = 1500
const COUNT = 1500

/**
 * What a handshake costs the core alone, without sockets, log and store. The median over handshakes, so that who took the core away
 * meanwhile does not count: the calibrator of `handshakes`, and what the guard against regressions looks at.
 */
export const handshakeCore: BenchCase = {
  name: 'handshake-core', title: 'whole handshakes of two endpoints in one process, session closed after each, no sockets: what the responder\'s core can answer; p50 and p99 of its time for one', headline: 'handshakesPerSecond',
  subjects: () => [{ name: 'responder', measure: (tools) => measure(tools, 'responder') }, { name: 'initiator', measure: (tools) => measure(tools, 'initiator') }],
}

async function measure({ settings, progress }: Tools, side: 'initiator' | 'responder'): Promise<Sample> {
  await using child = new Child<HandshakeCore>(new URL('./handshake-core-child.js', import.meta.url))
  progress('measuring')
  const { quick } = settings
  const warmUp = quick ? 20 : WARM_UP
  const ns = (await child.ask('shake', { count: warmUp + (quick ? 50 : COUNT) }))[side].subarray(warmUp).sort()
  const us = (share: number): number => ns[Math.floor(share * ns.length)]! / 1000
  return { figures: { handshakesPerSecond: 1e6 / us(0.5), cpuUsPerHandshake: us(0.5), p50Us: us(0.5), p99Us: us(0.99) } }
}
