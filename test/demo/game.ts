import type { Player, Roll } from './dice.ts'
import type { PlayerFigures, Report } from './messages.ts'
import { names, type Screen } from './screen.ts'

/** What the two game clients report, put together. */
export class Game {
  readonly rolls: { readonly host: Roll[]; readonly guest: Roll[] } = { host: [], guest: [] }
  readonly listening: Promise<void>
  readonly finished: Promise<{ readonly host: PlayerFigures; readonly guest: PlayerFigures }>
  readonly #screen: Screen
  readonly #onRound: (round: number) => void
  readonly #figures: Partial<Record<Player, PlayerFigures>> = {}
  #onListening!: () => void
  #onFinished!: (figures: { readonly host: PlayerFigures; readonly guest: PlayerFigures }) => void
  #onFailure!: (error: Error) => void

  /** @param onRound called when both sides have verified a round, the first is 0 */
  constructor(screen: Screen, onRound: (round: number) => void) {
    this.#screen = screen
    this.#onRound = onRound
    this.listening = new Promise((resolve) => (this.#onListening = resolve))
    this.finished = new Promise((resolve, reject) => {
      this.#onFinished = resolve
      this.#onFailure = reject
    })
    this.finished.catch(() => undefined)
  }

  take(player: Player, report: Report): void {
    switch (report.kind) {
      case 'listening':
        this.#onListening()
        return
      case 'rolled':
        this.#rolled(player, report.round, report.roll)
        return
      case 'finished': {
        this.#figures[player] = report.figures
        const { host, guest } = this.#figures
        if (host !== undefined && guest !== undefined) this.#onFinished({ host, guest })
        return
      }
      case 'failed':
        this.#onFailure(new Error(`${names[player]}'s game client gave up: ${report.reason}`))
    }
  }

  ended(player: Player, how: string): void {
    if (this.#figures[player] === undefined) this.#onFailure(new Error(how))
  }

  #rolled(player: Player, round: number, roll: Roll): void {
    this.rolls[player][round] = roll
    const { host, guest } = this.rolls
    if (host[round] === undefined || guest[round] === undefined) return
    this.#screen.roll(round, roll)
    this.#onRound(round)
  }
}
