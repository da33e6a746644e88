import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { PeerHandle } from '../../../src/core/base/domain.ts'
import { Meetings } from '../../../src/daemon/nat/meetings.ts'

const MINUTE = 60_000

describe('meetings', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  function meetings(): { readonly dialed: PeerHandle[]; readonly gone: Set<PeerHandle>; readonly all: Meetings } {
    const dialed: PeerHandle[] = []
    const gone = new Set<PeerHandle>()
    return { dialed, gone, all: new Meetings((peer) => dialed.push(peer) > 0 && !gone.has(peer)) }
  }

  it('dial at once, every 20 s, and no longer than 15 minutes', () => {
    const { dialed, all } = meetings()
    all.begin(1 as PeerHandle, 15 * MINUTE)
    expect(dialed).toHaveLength(1)
    vi.advanceTimersByTime(MINUTE)
    expect(dialed).toHaveLength(4)
    vi.advanceTimersByTime(60 * MINUTE)
    expect(dialed).toHaveLength(45)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('last as long as the most patient one of those who began them', () => {
    const { dialed, all } = meetings()
    all.begin(1 as PeerHandle, 15 * MINUTE)
    all.begin(1 as PeerHandle, MINUTE)
    vi.advanceTimersByTime(10 * MINUTE)
    expect(dialed).toHaveLength(32)
    vi.advanceTimersByTime(10 * MINUTE)
    expect(dialed).toHaveLength(46)
  })

  it('end when a session is up, or nothing can be dialed', () => {
    const { dialed, gone, all } = meetings()
    all.begin(1 as PeerHandle, 15 * MINUTE)
    all.begin(2 as PeerHandle, 15 * MINUTE)
    all.end(1 as PeerHandle)
    gone.add(2 as PeerHandle)
    vi.advanceTimersByTime(MINUTE)
    expect(dialed).toEqual([1, 2, 2])
    expect(vi.getTimerCount()).toBe(0)
    all.begin(2 as PeerHandle, 15 * MINUTE)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('by hand are not pushed out by introductions', () => {
    const { dialed, all } = meetings()
    all.begin(1 as PeerHandle, 15 * MINUTE)
    for (let peer = 2; peer < 200; peer++) all.begin(peer as PeerHandle, MINUTE)
    dialed.length = 0
    vi.advanceTimersByTime(20_000)
    expect(dialed).toHaveLength(64)
    expect(dialed).toContain(1)
  })

  it('are at most 64: the one that ends first makes room', () => {
    const { dialed, all } = meetings()
    for (let peer = 0; peer < 65; peer++) all.begin(peer as PeerHandle, 15 * MINUTE)
    dialed.length = 0
    vi.advanceTimersByTime(20_000)
    expect(dialed).toEqual(Array.from({ length: 64 }, (_, i) => i + 1))
  })
})
