import type { Percentiles, Received } from './figures.ts'
import { players, type Player, type Roll } from './dice.ts'

/** Apps that the host listens as, one channel each. */
export const apps = { game: 'dice/game', places: 'dice/places' } as const

/** What the duel itself is made of. */
export type DuelWord =
  | { readonly kind: 'hello'; readonly nonce: string }
  | { readonly kind: 'commit'; readonly round: number; readonly commitment: string }
  | { readonly kind: 'reveal'; readonly round: number; readonly secret: string }
  | { readonly kind: 'verdict'; readonly round: number; readonly roll: Roll }

/** What the players say on the reliable channel, as JSON; `n` numbers the messages of one side from 0. */
export type GameWord =
  | DuelWord
  /** To be answered at once: round trips of this channel are measured with it. */
  | { readonly kind: 'mark' | 'echo'; readonly id: number }
  /** The last word of a side: how many messages it sent, this one included, and how many updates. */
  | { readonly kind: 'bye'; readonly messages: number; readonly updates: number }
export type GameMessage = GameWord & { readonly n: number }

export function encodeGameMessage(message: GameMessage): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(message))
}

/** `undefined` for anything that is not one. */
export function decodeGameMessage(bytes: Uint8Array): GameMessage | undefined {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
  return isGameMessage(value) ? value : undefined
}

function isGameMessage(value: unknown): value is GameMessage {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const m = value as Readonly<Record<string, unknown>>
  if (!isCount(m['n'])) return false
  switch (m['kind']) {
    case 'hello':
      return isHex(m['nonce'])
    case 'commit':
      return isCount(m['round']) && isHex(m['commitment'])
    case 'reveal':
      return isCount(m['round']) && isHex(m['secret'])
    case 'verdict':
      return isCount(m['round']) && Array.isArray(m['roll']) && m['roll'].length === 2 && m['roll'].every(isCount)
    case 'mark':
    case 'echo':
      return isCount(m['id'])
    case 'bye':
      return isCount(m['messages']) && isCount(m['updates'])
    default:
      return false
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isHex(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

/** Where a player is, 60 times a second on the unreliable channel. Times are milliseconds of the writer's own clock. */
export interface PlaceUpdate {
  readonly number: number
  readonly x: number
  readonly y: number
  readonly sentAt: number
  /** `sentAt` of the update of the other side that came last, −1 when there was none since the last update. */
  readonly echo: number
  /** How long that one had been here when this was sent. */
  readonly heldMs: number
}

const PLACE_SIZE = 36

/** `number u32 | x f32 | y f32 | sentAt f64 | echo f64 | heldMs f64`, little-endian. */
export function encodePlace(update: PlaceUpdate): Uint8Array {
  const bytes = new Uint8Array(PLACE_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, update.number, true)
  view.setFloat32(4, update.x, true)
  view.setFloat32(8, update.y, true)
  view.setFloat64(12, update.sentAt, true)
  view.setFloat64(20, update.echo, true)
  view.setFloat64(28, update.heldMs, true)
  return bytes
}

export function decodePlace(bytes: Uint8Array): PlaceUpdate | undefined {
  if (bytes.length !== PLACE_SIZE) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return {
    number: view.getUint32(0, true), x: view.getFloat32(4, true), y: view.getFloat32(8, true),
    sentAt: view.getFloat64(12, true), echo: view.getFloat64(20, true), heldMs: view.getFloat64(28, true),
  }
}

/** What a player's process is told by its command line. */
export interface PlayerTask {
  readonly player: Player
  /** Instance directory of its daemon. */
  readonly dir: string
  /** Id of the other side's node. */
  readonly peer: string
  readonly rounds: number
  /** A round begins this long after the one before it, or later. */
  readonly paceMs: number
  /** Round trips are told by the kind of path as well. */
  readonly byPath: boolean
}

export function parseTask(text: string | undefined): PlayerTask {
  const task = JSON.parse(text ?? 'null') as PlayerTask | null
  if (task === null || !players.includes(task.player)) throw new Error('a player is started by the demo, with its task')
  return task
}

/** What one side of the game saw. */
export interface PlayerFigures {
  readonly sentMessages: number
  readonly sentUpdates: number
  /** What the other side says that it sent. */
  readonly expectedMessages: number
  readonly expectedUpdates: number
  readonly messages: Received
  readonly updates: Received
  readonly messageRtt: Percentiles
  readonly updateRtt: Percentiles
  /** How the reliable channel ended. */
  readonly ended: string
  /** By the kind of path that its daemon used from the sending to the answer; round trips during which it changed are in none. Empty if not asked for. */
  readonly byPath: Readonly<Record<string, PathRtts>>
}

export interface PathRtts {
  readonly messages: Percentiles
  readonly updates: Percentiles
}

/** What a player's process tells the demo. */
export type Report =
  | { readonly kind: 'listening' }
  | { readonly kind: 'rolled'; readonly round: number; readonly roll: Roll }
  | { readonly kind: 'finished'; readonly figures: PlayerFigures }
  | { readonly kind: 'failed'; readonly reason: string }
