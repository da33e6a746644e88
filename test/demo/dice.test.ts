import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { commitmentOf, gameOf, opens, rollOf, SECRET_SIZE, type Player, type Roll } from './dice.ts'
import { Duel, FoulPlay } from './duel.ts'
import { Numbers, percentilesOf } from './figures.ts'
import { decodeGameMessage, decodePlace, encodeGameMessage, encodePlace, type DuelWord } from './messages.ts'
import { parseOptions, UsageError } from './options.ts'

/** Two sides whose words go through `cheat` on the way; undelivered words wait in order. */
class Table {
  readonly rolls: Record<Player, Roll[]> = { host: [], guest: [] }
  readonly sides: Readonly<Record<Player, Duel>>
  readonly #waiting: { readonly to: Player; readonly word: DuelWord }[] = []

  constructor(cheat: (from: Player, word: DuelWord) => DuelWord = (_from, word) => word) {
    const side = (player: Player, other: Player): Duel => new Duel(player, (word) => {
      this.#waiting.push({ to: other, word: cheat(player, word) })
    }, (_round, roll) => this.rolls[player].push(roll))
    this.sides = { host: side('host', 'guest'), guest: side('guest', 'host') }
    this.sides.host.greet()
    this.sides.guest.greet()
    this.deliver()
  }

  begin(...players: readonly Player[]): void {
    for (const player of players) this.sides[player].begin()
    this.deliver()
  }

  deliver(): void {
    for (;;) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      this.sides[next.to].hear(next.word)
    }
  }
}

describe('dice', () => {
  it('gives both sides the same dice, from 1 to 6, and each face about as often', () => {
    const counts = new Array<number>(7).fill(0)
    const game = gameOf(randomBytes(32), randomBytes(32))
    for (let round = 0; round < 6000; round++) for (const die of rollOf(game, round, randomBytes(32), randomBytes(32))) counts[die]!++
    expect(counts[0]).toBe(0)
    // 12,000 throws: 2000 ± 6 standard deviations of 41.
    for (let face = 1; face <= 6; face++) expect(Math.abs(counts[face]! - 2000)).toBeLessThan(246)
  })

  it('opens a commitment only with its secret, for its game, player and round', () => {
    const [game, secret] = [randomBytes(32), randomBytes(SECRET_SIZE)]
    const commitment = commitmentOf(game, 'host', 3, secret)
    expect(opens(commitment, game, 'host', 3, secret)).toBe(true)
    expect(opens(commitment, game, 'guest', 3, secret)).toBe(false)
    expect(opens(commitment, game, 'host', 4, secret)).toBe(false)
    expect(opens(commitment, randomBytes(32), 'host', 3, secret)).toBe(false)
    expect(opens(commitment, game, 'host', 3, randomBytes(SECRET_SIZE))).toBe(false)
    expect(opens(commitment.subarray(1), game, 'host', 3, secret)).toBe(false)
  })
})

describe('the duel', () => {
  it('is played out, also when one side is a round ahead', () => {
    const table = new Table()
    for (let round = 0; round < 20; round++) {
      if (round % 2 === 0) table.begin('host', 'guest')
      else {
        table.begin('guest')
        expect(table.rolls.host.length).toBe(round)
        table.begin('host')
      }
    }
    expect(table.rolls.host).toHaveLength(20)
    expect(table.rolls.host).toEqual(table.rolls.guest)
  })

  it.each<[string, Partial<Record<DuelWord['kind'], (word: DuelWord) => DuelWord>>]>([
    ['another secret than the one committed to', { reveal: (word) => ({ ...word, secret: '11'.repeat(32) }) as DuelWord }],
    ['another verdict', { verdict: (word) => ({ ...word, roll: [6, 1] }) as DuelWord }],
    ['a secret of another round', { reveal: (word) => ({ ...word, round: 7 }) as DuelWord }],
    ['a commitment to a later round', { commit: (word) => ({ ...word, round: 2 }) as DuelWord }],
  ])('does not take %s', (_what, changes) => {
    const table = new Table((from, word) => (from === 'guest' ? (changes[word.kind]?.(word) ?? word) : word))
    // The honest verdict may happen to be 6:1, once in 36 rounds.
    expect(() => {
      for (let round = 0; round < 20; round++) table.begin('host', 'guest')
    }).toThrow(FoulPlay)
  })

  it('reveals nothing before the other side is committed', () => {
    const said: DuelWord[] = []
    const host = new Duel('host', (word) => said.push(word), () => undefined)
    host.hear({ kind: 'hello', nonce: '00'.repeat(32) })
    host.begin()
    expect(said.map(({ kind }) => kind)).toEqual(['commit'])
    expect(() => host.hear({ kind: 'reveal', round: 0, secret: '00'.repeat(32) })).toThrow(FoulPlay)
  })
})

describe('what goes over the wire', () => {
  it('is read back, and nothing else is taken', () => {
    const message = { kind: 'verdict', round: 4, roll: [1, 6], n: 9 } as const
    expect(decodeGameMessage(encodeGameMessage(message))).toEqual(message)
    for (const text of ['', '{', 'null', '[]', '{"kind":"mark","id":1}', '{"n":0,"kind":"mark","id":-1}', '{"n":0,"kind":"reveal","round":0,"secret":"zz"}', '{"n":0,"kind":"cheat"}']) {
      expect(decodeGameMessage(new TextEncoder().encode(text))).toBeUndefined()
    }
    const place = { number: 5, x: 0.5, y: -0.25, sentAt: 1234.5, echo: -1, heldMs: 0 }
    expect(decodePlace(encodePlace(place))).toEqual(place)
    expect(decodePlace(new Uint8Array(35))).toBeUndefined()
  })

  it('is counted: once, twice, late', () => {
    const numbers = new Numbers()
    for (const number of [0, 1, 3, 2, 3, 5]) numbers.note(number)
    expect(numbers.received).toEqual({ distinct: 5, doubled: 1, late: 1 })
    expect(() => numbers.note(-1)).toThrow()
    expect(percentilesOf([5, 1, 3])).toEqual({ count: 3, p50Ms: 3, p99Ms: 5 })
    expect(percentilesOf([]).p50Ms).toBe(0)
  })
})

describe('options of the demo', () => {
  it('reads them', () => {
    expect(parseOptions(['--seed', '5', '--rounds', '10', '--loss', '20', '--json'])).toEqual({ seed: 5, rounds: 10, loss: 0.2, json: true, cut: true, ble: false })
    expect(parseOptions(['--no-cut'])?.cut).toBe(false)
    expect(parseOptions(['--ble'])).toMatchObject({ ble: true, cut: false })
    expect(parseOptions(['--help'])).toBeUndefined()
  })

  it.each([['--rounds', '0'], ['--rounds', 'many'], ['--loss', '41'], ['--loss', '-1'], ['--seed', '1.5'], ['--what'], ['extra'], ['--ble', '--no-cut']])('refuses %s %s', (...args) => {
    expect(() => parseOptions(args)).toThrow(UsageError)
  })
})
