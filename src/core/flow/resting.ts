import type { CongestionController } from './congestion.ts'
import { initialWindow } from './cubic.ts'

/** Of the base size: what a path that rests begins with again. */
const DATAGRAM_SIZE = 1200

/**
 * Stands where a congestion controller does on paths of sessions that are quiet: one for all of them, with the window of a fresh one for datagrams of the
 * base size. A fresh one takes its place before anything goes out that asks a controller.
 */
class RestingController implements CongestionController {
  readonly name: string
  readonly window: number = initialWindow(DATAGRAM_SIZE)
  readonly pacingRate: undefined = undefined
  readonly sendQuantum: undefined = undefined

  constructor(name: string) {
    this.name = name
  }

  onSent(): void {
    // The fresh one learns from what comes back.
  }

  onAcked(): void {
    // Nothing is in flight: whatever a peer acknowledges is none of it.
  }

  onLost(): void {
    // The same.
  }

  setDatagramSize(): void {
    // The next one is made with the size of its path.
  }
}

const [model, cubic] = [new RestingController('model-based'), new RestingController('cubic')]

/** By the name of the controller whose place it takes. */
export function resting(name: string): CongestionController {
  return name === 'cubic' ? cubic : model
}
