import { createHash, timingSafeEqual } from 'node:crypto'

/**
 * Dice over a wire, with nobody to trust: each player commits to a secret, then both reveal, and both dice come from both secrets.
 * Whoever reveals last knows the roll first but cannot change it any more; one honest player is enough for fair dice.
 *
 *     commitment = SHA-256("postern dice: commitment" | game 32 | player u8 | round u32 | secret 32)
 *     stream     = SHA-256("postern dice: roll" | game 32 | round u32 | host's secret 32 | guest's secret 32 | block u32) for block 0, 1, …
 *     die        = the next byte of the stream below 252, modulo 6, plus 1        (252 is a multiple of 6: no face is favoured)
 */
export const SECRET_SIZE = 32
export const players = ['host', 'guest'] as const
export type Player = (typeof players)[number]

/** Host's die, guest's die. */
export type Roll = readonly [number, number]

const FAIR_BYTES = 252

/** The number of a game: both players put something into it, so that nothing of an older game fits. */
export function gameOf(hostNonce: Uint8Array, guestNonce: Uint8Array): Uint8Array {
  return digest('postern dice: game', hostNonce, guestNonce)
}

export function commitmentOf(game: Uint8Array, player: Player, round: number, secret: Uint8Array): Uint8Array {
  return digest('postern dice: commitment', game, Uint8Array.of(players.indexOf(player)), u32(round), secret)
}

/** Whether this is the secret that was committed to. */
export function opens(commitment: Uint8Array, game: Uint8Array, player: Player, round: number, secret: Uint8Array): boolean {
  const expected = commitmentOf(game, player, round, secret)
  return secret.length === SECRET_SIZE && commitment.length === expected.length && timingSafeEqual(commitment, expected)
}

export function rollOf(game: Uint8Array, round: number, hostSecret: Uint8Array, guestSecret: Uint8Array): Roll {
  const dice: number[] = []
  for (let block = 0; dice.length < 2; block++) {
    for (const byte of digest('postern dice: roll', game, u32(round), hostSecret, guestSecret, u32(block))) {
      if (byte < FAIR_BYTES && dice.length < 2) dice.push((byte % 6) + 1)
    }
  }
  return [dice[0]!, dice[1]!]
}

function digest(label: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256').update(label)
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}
