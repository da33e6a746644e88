import type { PosternError } from '../../core/base/errors.ts'
import type { UdpDriver } from '../../net/udp.ts'
import type { Log } from '../log/log.ts'

/** Pause before a failed socket is opened again, doubling. */
const REOPEN_FIRST_MS = 250
const REOPEN_MAX_MS = 15_000

/** Opens the UDP socket again after it failed, later and later, until that works. */
export class UdpKeeper {
  readonly #udp: Pick<UdpDriver, 'start'>
  readonly #log: Log
  /** The daemon is about to end. */
  readonly #ending: () => boolean
  #pauseMs = REOPEN_FIRST_MS

  constructor(udp: Pick<UdpDriver, 'start'>, log: Log, ending: () => boolean) {
    this.#udp = udp
    this.#log = log
    this.#ending = ending
  }

  failed(cause: PosternError | undefined): void {
    this.#log.warn('the UDP socket failed; opening it again', { code: cause?.code ?? 'unknown', error: cause?.message ?? '' })
    this.#later()
  }

  #later(): void {
    setTimeout(() => void this.#reopen(), this.#pauseMs)
    this.#pauseMs = Math.min(2 * this.#pauseMs, REOPEN_MAX_MS)
  }

  async #reopen(): Promise<void> {
    if (this.#ending()) return
    try {
      await this.#udp.start()
      this.#pauseMs = REOPEN_FIRST_MS
    } catch (error) {
      this.#log.warn('the UDP socket could not be opened', { error: error instanceof Error ? error.message : String(error) })
      this.#later()
    }
  }
}
