import { networkInterfaces } from 'node:os'

/** [P] Looking costs a tenth of a millisecond. */
const INTERVAL_MS = 5000

/** The addresses of this machine that others could reach, as one text that changes when they do. */
export function networkFingerprint(): string {
  const found: string[] = []
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { address, internal } of addresses ?? []) if (!internal) found.push(`${name} ${address}`)
  }
  return found.sort().join('\n')
}

/** Whether there is any network besides the machine itself. */
export function hasNetwork(): boolean {
  return networkFingerprint() !== ''
}

/** Says when the machine's addresses change, by looking every few seconds. It keeps no process alive. */
export class NetworkWatch {
  readonly #timer: NodeJS.Timeout
  #last: string

  constructor(changed: () => void, fingerprint: () => string = networkFingerprint, intervalMs: number = INTERVAL_MS) {
    this.#last = fingerprint()
    this.#timer = setInterval(() => {
      const now = fingerprint()
      if (now === this.#last) return
      this.#last = now
      changed()
    }, intervalMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
