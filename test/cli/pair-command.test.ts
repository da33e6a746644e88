/** What two people see of a pairing, and what their answer means, while strangers show up with codes of their own. */
import { PassThrough } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { Comparison } from '../../src/cli/pair-command.ts'
import type { PairExchange, PairStatusResult } from '../../src/client/client.ts'
import { until } from '../net/udp-support.ts'

const ana = `${'a'.repeat(51)}q`
const eve = `${'e'.repeat(51)}q`

class Scene {
  exchanges: PairExchange[] = []
  open = true
  inRange = 1
  readonly printed: string[] = []
  readonly stdin = new PassThrough()
  readonly stop = new AbortController()
  readonly comparison: Comparison

  constructor() {
    const client = { pairStatus: (): Promise<PairStatusResult> => Promise.resolve({ open: this.open, leftMs: 0, inRange: this.inRange, exchanges: this.exchanges }) }
    const output = { progress: (line: string) => { this.printed.push(line) }, result: (_name: unknown, _value: unknown, text: () => string) => { this.printed.push(text()) } }
    this.comparison = new Comparison(client, output as never, this.stop.signal, this.stdin, 5)
  }

  comes(peer: string, code: string): void {
    this.exchanges = [...this.exchanges, { peer, code, state: 'comparing' }]
  }

  goes(peer: string): void {
    this.exchanges = this.exchanges.map((one) => one.peer === peer ? { ...one, state: 'ended' } : one)
  }

  shows(text: string): Promise<void> {
    return until(() => this.printed.some((line) => line.includes(text)))
  }
}

const scenes: Scene[] = []
afterEach(() => {
  for (const { comparison } of scenes.splice(0)) comparison.end()
})

function scene(): Scene {
  const made = new Scene()
  scenes.push(made)
  return made
}

describe('postern pair', () => {
  it('with one machine: its code, and yes', async () => {
    const s = scene()
    const chosen = s.comparison.choose()
    s.comes(ana, '31415926')
    await s.shows('yes or no')
    expect(s.printed).toEqual(['1 machine in range is not paired with this one; postern pair must run there, too.', 'The code is 3141 5926.', 'Does the other machine show the same eight digits? yes or no:'])
    s.stdin.write('what?\nYES\n')
    expect(await chosen).toBe(ana)
  })

  it('with several: each code with its number, and a yes that could mean another one is asked again, also when one has gone', async () => {
    const s = scene()
    const chosen = s.comparison.choose()
    s.comes(eve, '11112222')
    await s.shows('1111 2222')
    s.comes(ana, '31415926')
    await s.shows('1 (1111 2222), 2 (3141 5926), or no:')
    s.stdin.write('yes\n')
    await until(() => s.printed.filter((line) => line.startsWith('Which one')).length === 2)
    s.goes(ana)
    await s.shows('3141 5926 has gone.')
    // Somebody made the right one go: yes does not mean the one that is left.
    s.stdin.write('yes\n2\n3\n')
    await until(() => s.printed.filter((line) => line.startsWith('Which one')).length === 5)
    s.comes(ana, '27182818')
    await s.shows('Machine 3')
    s.stdin.write('3\n')
    expect(await chosen).toBe(ana)
  })

  it('waits on when the only code goes, and ends with a no, the end of input, the end of the window, or ^C', async () => {
    const ends: readonly (readonly [string, string, (s: Scene) => void])[] = [
      ['refused', 'The codes differ', (s) => s.stdin.write('no\n')],
      ['refused', 'Nobody said', (s) => s.stdin.end()],
      ['timeout', 'in time', (s) => { s.goes(ana); s.open = false }],
      ['aborted', 'Nobody was paired', (s) => { s.stop.abort() }],
    ]
    for (const [code, message, end] of ends) {
      const s = scene()
      const chosen = s.comparison.choose()
      chosen.catch(() => undefined)
      s.comes(eve, '11112222')
      await s.shows('1111 2222')
      s.goes(eve)
      await s.shows('has gone')
      s.comes(ana, '31415926')
      await s.shows('Machine 2')
      end(s)
      await expect(chosen, message).rejects.toMatchObject({ code, message: expect.stringContaining(message) as string })
    }
  })

  it('then waits for the other side', async () => {
    for (const [state, code] of [['paired', undefined], ['ended', 'refused']] as const) {
      const s = scene()
      s.exchanges = [{ peer: ana, code: '31415926', state: 'accepted' }]
      const done = s.comparison.wait(ana)
      s.exchanges = [{ peer: ana, code: '31415926', state }]
      if (code === undefined) await done
      else await expect(done).rejects.toMatchObject({ code })
    }
  })
})
