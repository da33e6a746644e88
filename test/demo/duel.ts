import { randomBytes } from 'node:crypto'
import { commitmentOf, gameOf, opens, rollOf, SECRET_SIZE, type Player, type Roll } from './dice.ts'
import type { DuelWord } from './messages.ts'

/** One side of the duel broke its rules, or the two sides do not agree: the game is over. */
export class FoulPlay extends Error {
  override readonly name = 'FoulPlay'
}

interface Round {
  readonly secret: Uint8Array
  /** What the other side committed to. */
  theirs: Uint8Array | undefined
  revealed: boolean
  roll: Roll | undefined
}

/**
 * The rules of the duel for one side, without channels or clocks:
 *
 *     hello ⇄ hello ──▶ commit ⇄ commit ──▶ reveal ⇄ reveal ──▶ verdict ⇄ verdict ──▶ next round
 *
 * A secret is revealed only when the other side is committed; a verdict is what this side rolled, and both must say the same.
 */
export class Duel {
  readonly #player: Player
  readonly #say: (word: DuelWord) => void
  readonly #onRoll: (round: number, roll: Roll) => void
  readonly #nonce: Uint8Array = randomBytes(SECRET_SIZE)
  #game: Uint8Array | undefined
  /** The round being played, from 0. */
  #number = -1
  #round: Round | undefined
  /** The other side may be quicker by one round. */
  #early: Uint8Array | undefined

  constructor(player: Player, say: (word: DuelWord) => void, onRoll: (round: number, roll: Roll) => void) {
    this.#player = player
    this.#say = say
    this.#onRoll = onRoll
  }

  greet(): void {
    this.#say({ kind: 'hello', nonce: toHex(this.#nonce) })
  }

  /** The next round; the one before it is over. */
  begin(): void {
    const round: Round = { secret: randomBytes(SECRET_SIZE), theirs: this.#early, revealed: false, roll: undefined }
    this.#number++
    this.#round = round
    this.#early = undefined
    this.#say({ kind: 'commit', round: this.#number, commitment: toHex(commitmentOf(this.#agreedGame(), this.#player, this.#number, round.secret)) })
    this.#reveal(round)
  }

  /** Throws {@link FoulPlay}. */
  hear(word: DuelWord): void {
    switch (word.kind) {
      case 'hello': {
        if (this.#game !== undefined) throw new FoulPlay('the other side said hello twice')
        const theirs = fromHex(word.nonce)
        this.#game = this.#player === 'host' ? gameOf(this.#nonce, theirs) : gameOf(theirs, this.#nonce)
        return
      }
      case 'commit':
        this.#committed(word.round, fromHex(word.commitment))
        return
      case 'reveal':
        this.#revealed(word.round, fromHex(word.secret))
        return
      case 'verdict':
        this.#judged(word.round, word.roll)
    }
  }

  #committed(number: number, commitment: Uint8Array): void {
    const round = this.#round
    if (number === this.#number + 1 && this.#early === undefined) {
      this.#early = commitment
      return
    }
    if (round === undefined || number !== this.#number || round.theirs !== undefined) throw new FoulPlay(`a commitment to round ${number} came in round ${this.#number}`)
    round.theirs = commitment
    this.#reveal(round)
  }

  #reveal(round: Round): void {
    if (round.theirs === undefined || round.revealed) return
    round.revealed = true
    this.#say({ kind: 'reveal', round: this.#number, secret: toHex(round.secret) })
  }

  #revealed(number: number, secret: Uint8Array): void {
    const round = this.#round
    if (round?.theirs === undefined || number !== this.#number || round.roll !== undefined) throw new FoulPlay(`a secret of round ${number} came in round ${this.#number}`)
    const game = this.#agreedGame()
    const other: Player = this.#player === 'host' ? 'guest' : 'host'
    if (!opens(round.theirs, game, other, number, secret)) throw new FoulPlay(`the secret of round ${number} is not the one committed to`)
    round.roll = this.#player === 'host' ? rollOf(game, number, round.secret, secret) : rollOf(game, number, secret, round.secret)
    this.#say({ kind: 'verdict', round: number, roll: round.roll })
  }

  #judged(number: number, roll: Roll): void {
    const mine = this.#round?.roll
    if (mine === undefined || number !== this.#number) throw new FoulPlay(`a verdict on round ${number} came in round ${this.#number}`)
    if (mine[0] !== roll[0] || mine[1] !== roll[1]) throw new FoulPlay(`round ${number} is ${mine.join(':')} here and ${roll.join(':')} there`)
    this.#round = undefined
    this.#onRoll(number, mine)
  }

  #agreedGame(): Uint8Array {
    if (this.#game === undefined) throw new FoulPlay('the game began before both sides said hello')
    return this.#game
  }
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function fromHex(text: string): Uint8Array {
  return Buffer.from(text, 'hex')
}
