import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'

export interface DemoOptions {
  readonly seed: number
  readonly rounds: number
  /** Share of the datagrams that the network loses, 0 … 1. */
  readonly loss: number
  readonly json: boolean
  /** UDP is cut in mid-game and healed later. */
  readonly cut: boolean
  /** Over Bluetooth on a virtual air, until the network comes back in mid-game. */
  readonly ble: boolean
}

export const ROUNDS_MAX = 400
/** Beyond it every second round waits for timers, and the demo for its deadline. */
const LOSS_MAX = 40

export const usage: string = `npm run demo -- [options]

Two daemons, a bad network between them, and two game clients that play dice: each commits to a secret, both reveal, both verify. In mid-game
UDP is cut, and the game goes on over TCP until it is healed.

  --seed <number>     chooses which datagrams are lost and which overtaken (drawn when left out)
  --rounds <number>   rounds to play, 1 to ${ROUNDS_MAX} (60)
  --loss <percent>    datagrams lost each way, 0 to ${LOSS_MAX} (10)
  --no-cut            leave UDP as it is; otherwise it is cut in mid-game and healed later
  --ble               start without any network: the game is played over Bluetooth LE on a virtual air, and the network comes back in mid-game
  --json              print one JSON object instead of text
  --help              print this

It ends with 0 only if both sides verified every roll and no reliable message was lost or doubled, and
if the game went over to TCP and came back. With --ble: if it was played over Bluetooth alone first, and went over to UDP while it lasted; 69
says that the optional packages of Bluetooth are not installed.`

/** A sentence about what is wrong with the command line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** `undefined`: help was asked for. Throws {@link UsageError}. */
export function parseOptions(args: readonly string[]): DemoOptions | undefined {
  const { values } = parse(args)
  if (values.help === true) return undefined
  if (values.ble === true && values['no-cut'] === true) throw new UsageError('--no-cut is about UDP; with --ble the network is away until mid-game.')
  return {
    seed: values.seed === undefined ? randomInt(1, 1_000_000) : wholeNumber('--seed', values.seed, 0, 0xffff_ffff),
    rounds: wholeNumber('--rounds', values.rounds ?? '60', 1, ROUNDS_MAX),
    loss: wholeNumber('--loss', values.loss ?? '10', 0, LOSS_MAX) / 100,
    json: values.json === true,
    cut: values['no-cut'] !== true && values.ble !== true,
    ble: values.ble === true,
  }
}

interface Values {
  readonly values: { readonly seed?: string; readonly rounds?: string; readonly loss?: string; readonly json?: boolean; readonly 'no-cut'?: boolean; readonly ble?: boolean; readonly help?: boolean }
}

function parse(args: readonly string[]): Values {
  try {
    return parseArgs({
      args: [...args], allowPositionals: false,
      options: {
        seed: { type: 'string' }, rounds: { type: 'string' }, loss: { type: 'string' }, json: { type: 'boolean' }, 'no-cut': { type: 'boolean' }, ble: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  throw new UsageError(`${name} takes a whole number from ${least} to ${most}, not "${text}".`)
}
