/** The virtual air between two daemons: a process of its own, so that what it costs is not the bench's. */
import { VirtualAir } from '../src/sim/air/air.ts'
import { realAirTime } from '../src/sim/air/air-time.ts'
import { AirServer } from '../src/sim/air/serve-air.ts'
import { serve } from './harness/child.ts'

export interface AirStart {
  /** Where daemons find their controllers. */
  readonly socket: string
  /** Data at the connection events only, 15 ms apart, as fast as this in bits per second; absent: at once, without limit. */
  readonly bitsPerSecond?: number
}

/** What it can be asked. */
export type Air = {
  readonly open: (options: AirStart) => Promise<void>
}

const calls: Air = {
  open: async ({ socket, bitsPerSecond }) => {
    await AirServer.listen(new VirtualAir({ time: realAirTime(), connectionEvents: bitsPerSecond !== undefined, ...(bitsPerSecond === undefined ? {} : { bitsPerSecond }) }), socket)
  },
}
serve(calls)
