import { describe, expect, it } from 'vitest'
import { LiveLine } from '../../src/cli/live-line.ts'
import { PingFigures, summaryText } from '../../src/cli/ping-figures.ts'

function figures(...times: (number | 'lost' | 'forgotten')[]): PingFigures {
  const made = new PingFigures()
  for (const time of times) {
    made.send()
    if (time === 'lost') made.lose()
    else if (time === 'forgotten') made.forget()
    else made.answer(time)
  }
  return made
}

describe('figures of pings', () => {
  it('are those of the answered ones; jitter is the mean step from one to the next', () => {
    expect(figures(10, 14, 'lost', 12, 'forgotten').summary('p', 4000.4)).toEqual({
      kind: 'summary', peer: 'p', sent: 4, answered: 3, loss: 0.25, elapsedMs: 4000, minMs: 10, avgMs: 12, maxMs: 14, jitterMs: 3,
    })
  })

  it('leave out what is not known', () => {
    expect(figures('lost').summary('p', 1)).toEqual({ kind: 'summary', peer: 'p', sent: 1, answered: 0, loss: 1, elapsedMs: 1 })
    expect(figures().summary('p', 1)).toEqual({ kind: 'summary', peer: 'p', sent: 0, answered: 0, loss: 0, elapsedMs: 1 })
    expect(figures(5).summary('p', 1)).not.toHaveProperty('jitterMs')
  })

  it('end as those of ping(8)', () => {
    expect(summaryText('anna', figures(1.07, 1.41, 'lost').summary('p', 2034))).toBe('--- anna ---\n3 sent, 2 answered, 33.3 % lost, 2.0 s\nround trip min/avg/max/jitter = 1.07/1.24/1.41/0.34 ms')
    expect(summaryText('anna', figures(1.07).summary('p', 2034))).toMatch(/\nround trip min\/avg\/max = 1\.07\/1\.07\/1\.07 ms$/)
    expect(summaryText('anna', figures('lost').summary('p', 10_000))).toBe('--- anna ---\n1 sent, 0 answered, 100 % lost, 10.0 s')
  })

  it('are one line while they come; a ping under way is not lost yet', () => {
    const live = figures(10, 14, 'lost')
    live.send()
    expect(live.liveText('anna', 'udp 192.0.2.1:7000')).toBe('anna  udp 192.0.2.1:7000  last 14.0  min 10.0  avg 12.0  max 14.0 ms  jitter 4.00  loss 33.3 % of 3')
    expect(figures().liveText('anna', '')).toBe('anna  waiting for an answer  loss 0 % of 0')
  })
})

describe('the live line', () => {
  it('is written over, stays below lasting lines, never wraps, and leaves a clean line', () => {
    let written = ''
    const line = new LiveLine({ columns: 10, write: (text: string) => { written += text } })
    line.update('0123456789')
    line.print('lasting')
    line.end()
    line.end()
    expect(written).toBe('\r\u001b[2K01234567…\r\u001b[2Klasting\n01234567…\r\u001b[2K')
  })
})
