import { describe, expect, it } from 'vitest'
import type { PeerHandle, PeerStats } from '../../../src/core/endpoint/contract.ts'
import type { ConnectWish } from '../../../src/daemon/config/config-schema.ts'
import { FriendsInRange } from '../../../src/daemon/ble/friends-in-range.ts'
import type { NodeRuntime } from '../../../src/daemon/node-runtime.ts'

const ana = 1 as PeerHandle

/** Who is dialed when a peer of these facts comes into range. */
function dialed(wish: ConnectWish, facts: Partial<Pick<PeerStats, 'state' | 'inRoster' | 'wanted'>>): boolean {
  let connects = 0
  const friends = new FriendsInRange(runtime({ state: 'offline', inRoster: true, wanted: true, ...facts }, () => connects++), wish)
  friends.came(ana)
  return connects === 1
}

function runtime(facts: object | undefined, connect: () => unknown): NodeRuntime {
  return { now: () => ({ mono: 0, wall: 0 }), schedule: () => undefined, endpoint: { peerStats: () => facts, connect } } as unknown as NodeRuntime
}

describe('a friend who comes into range', () => {
  it('is connected if there was a session that nobody ended by a wish, or none yet; and by a word of the configuration always, or never', () => {
    expect((['sessions', 'friends', 'asked'] as const).map((wish) => dialed(wish, {}))).toEqual([true, true, false])
    expect((['sessions', 'friends', 'asked'] as const).map((wish) => dialed(wish, { wanted: false }))).toEqual([false, true, false])
  })

  it('is left to the core where a session is up or looked for, and to others where it is no friend', () => {
    for (const state of ['connected', 'dialing', 'unreachable'] as const) expect(dialed('friends', { state })).toBe(false)
    expect(dialed('friends', { inRoster: false })).toBe(false)
    const gone = new FriendsInRange(runtime(undefined, () => expect.unreachable()), 'friends')
    gone.came(ana)
  })

  it('is told to who waits, and nobody waits for ever', async () => {
    const friends = new FriendsInRange(runtime(undefined, () => undefined), 'asked')
    const waiting = friends.waitFor(ana, 60_000, undefined)
    friends.came(ana)
    expect(await waiting).toBe(true)
    expect(await friends.waitFor(ana, 1, undefined)).toBe(false)
    const stop = new AbortController()
    const aborted = friends.waitFor(ana, 60_000, stop.signal)
    stop.abort()
    await expect(aborted).rejects.toMatchObject({ code: 'aborted' })
  })
})
