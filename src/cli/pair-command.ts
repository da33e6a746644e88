import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, PairExchange } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parsePeerName, parseSeconds } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { interruption, withClient } from './session.ts'

const LOOK_MS = 250
const WAIT_MAX_S = 600

export interface PairOptions {
  readonly name?: string
  readonly wait?: string
}

/** Pairs with a machine in range: both people start it, compare six digits, and say whether they are the same. */
export async function pair(globals: Globals, options: PairOptions, output: Output): Promise<void> {
  const name = options.name === undefined ? undefined : parsePeerName(options.name, '--name')
  const timeoutS = Math.min(WAIT_MAX_S, Math.max(10, parseSeconds(options.wait ?? '2min', '--wait')))
  const stop = interruption()
  await withClient(globals, async (client) => {
    await client.pairStart({ timeoutS })
    output.progress('looking for another machine on which somebody runs postern pair …')
    try {
      const met = await waitFor(client, stop, ({ state }) => state !== 'ended')
      output.result('pair', { kind: 'compare', peer: met.peer, code: met.code }, () => `The code is ${met.code.slice(0, 3)} ${met.code.slice(3)}.`)
      const same = await answer(output)
      await client.pairAnswer(met.peer, same)
      if (!same) throw new PosternError('refused', 'The codes differ, so nobody was paired.', { hint: 'Somebody may stand between the two machines. Try again elsewhere, or use postern invite.' })
      output.progress('waiting for the other side …')
      await waitFor(client, stop, ({ peer, state }) => peer === met.peer && state !== 'accepted')
      if (name !== undefined) await client.addPeer(met.peer, { name })
      output.result('pair', { kind: 'paired', peer: met.peer, ...(name === undefined ? {} : { name }) }, () => `Paired with ${name ?? met.peer}.`)
    } finally {
      await client.pairStop().catch(() => undefined)
    }
  })
}

/** The first exchange of which `holds`; an end of the one that was compared ends the wait. */
async function waitFor(client: Client, stop: AbortSignal, holds: (exchange: PairExchange) => boolean): Promise<PairExchange> {
  for (;;) {
    const { open, exchanges, inRange } = await client.pairStatus()
    const found = exchanges.find(holds)
    if (found?.state === 'ended') throw new PosternError('refused', 'The other side did not say that the codes are the same.', { hint: 'Start again on both machines: postern pair' })
    if (found !== undefined) return found
    if (stop.aborted) throw new PosternError('aborted', 'Nobody was paired.')
    if (!open) throw new PosternError('timeout', 'Nobody was paired in time.', { hint: inRange === 0 ? 'No other Postern node is in range: postern nearby, postern ble status there.' : 'Run postern pair on the other machine at the same time.' })
    await sleep(LOOK_MS)
  }
}

async function answer(output: Output): Promise<boolean> {
  output.progress('Does the other machine show the same six digits? yes or no:')
  const lines = createInterface({ input: process.stdin })
  try {
    for await (const line of lines) {
      if (/^\s*(y|yes)\s*$/i.test(line)) return true
      if (/^\s*(n|no)\s*$/i.test(line)) return false
      output.progress('yes or no:')
    }
  } finally {
    lines.close()
  }
  return false
}
