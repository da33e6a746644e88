import { describe, expect, it } from 'vitest'
import { addon } from '../support/addon.ts'
import { whyNoCoturn } from './coturn.ts'
import { meet } from './meeting.ts'
import { whyNoFilters } from './namespaces.ts'

const why = addon?.tcp === undefined ? 'the native addon is missing' : whyNoFilters()
const PATIENCE_MS = 30_000

describe.skipIf(why !== undefined)(`homes without UDP meet by TCP${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it.concurrent('though the router of one answers a SYN that it does not know with RST', async () => {
    expect((await meet([{ kind: 'udpblock', open: true }, 'udpblock'], PATIENCE_MS)).path).toBe('tcp')
  })

  it.concurrent('… or that of the other', async () => {
    expect((await meet(['udpblock', { kind: 'udpblock', open: true }], PATIENCE_MS)).path).toBe('tcp')
  })

  it.skipIf(whyNoCoturn() !== undefined).concurrent('when coturn tells them where they are', async () => {
    expect((await meet(['udpblock', 'port'], PATIENCE_MS, 'coturn')).path).toBe('tcp')
    expect((await meet(['udpblock', 'udpblock'], PATIENCE_MS, 'coturn')).path).toBe('tcp')
  })
})
