import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/core/base/bytes.ts'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import { ByteReader } from '../../../src/core/base/varint.ts'
import { pairCode, pairCommit, verifyPairCommit } from '../../../src/core/session/pairing.ts'
import { HintTable, hourOf, presenceHint, withPresenceKey, type PresenceKey } from '../../../src/core/session/presence.ts'
import { FRAME_PAIR, pairDataSize, pairOps, readPair } from '../../../src/core/wire/pair-frame.ts'
import { presenceKeySize, readPresenceKey, writePresenceKey } from '../../../src/core/wire/presence-frame.ts'
import { repeated } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'

describe.each(providers)('presence with %s', (_name, provider) => {
  it('a hint is the first 6 bytes of HMAC(key, "postern hint" · hour u32)', () => {
    const hour = hourOf(toWallTime(1_770_000_000_000))
    expect(hour).toBe(491_666)
    const input = Buffer.concat([Buffer.from('postern hint'), Buffer.from(Uint32Array.of(hour).buffer)])
    expect(presenceHint(provider, repeated(7), hour)).toEqual(provider.hmac(repeated(7), input).slice(0, 6))
    expect(presenceHint(provider, repeated(7), hour + 1)).not.toEqual(presenceHint(provider, repeated(7), hour))
    expect(presenceHint(provider, repeated(8), hour)).not.toEqual(presenceHint(provider, repeated(7), hour))
  })

  it('a table knows both keys of a friend, in three hours, and no other', () => {
    const keys = [{ epoch: 2, key: repeated(2) }, { epoch: 1, key: repeated(1) }]
    const table = new HintTable<string>(provider, 100)
    table.set('b', keys)
    table.set('c', [{ epoch: 9, key: repeated(9) }])
    for (const [key, owner] of [[1, 'b'], [2, 'b'], [9, 'c'], [3, undefined]] as const) {
      for (const hour of [98, 99, 100, 101, 102]) expect([key, hour, table.find(presenceHint(provider, repeated(key), hour))]).toEqual([key, hour, hour === 98 || hour === 102 ? undefined : owner])
    }
    expect(table.find(presenceHint(provider, repeated(1), 100).slice(0, 5))).toBeUndefined()
    expect(table.find(new Uint8Array(0))).toBeUndefined()
  })

  it('a question costs no hash, however many friends there are; a key costs three, an hour one for each key', () => {
    let hashes = 0
    const counting: CryptoProvider = Object.create(provider, { hmac: { value: (...args: Parameters<CryptoProvider['hmac']>) => {
      hashes++
      return provider.hmac(...args)
    } } }) as CryptoProvider
    const keyOf = (friend: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => friend >> 8 * (i % 4))
    const table = new HintTable<number>(counting, 100)
    const friends = 10_000
    for (let friend = 1; friend <= friends; friend++) table.set(friend, [{ epoch: 1, key: keyOf(friend) }])
    expect([hashes, table.size]).toEqual([3 * friends, 3 * friends])
    const own = presenceHint(provider, keyOf(777), 101)
    hashes = 0
    const stranger = new Uint8Array(6)
    for (let n = 0; n < 100_000; n++) {
      stranger.set([n, n >> 8, n >> 16])
      if (table.find(stranger) !== undefined) throw new Error('a stranger is a friend')
    }
    expect([table.find(own), hashes]).toEqual([777, 0])
    table.setHour(101)
    expect([hashes, table.size, table.find(presenceHint(provider, keyOf(778), 102))]).toEqual([friends, 3 * friends, 778])
    table.setHour(101)
    table.set(5, [{ epoch: 2, key: keyOf(70_000) }, { epoch: 1, key: keyOf(70_001) }])
    expect([hashes, table.size]).toEqual([friends + 6, 3 * friends + 3])
    table.set(5, [])
    expect([table.size, table.find(presenceHint(provider, keyOf(70_000), 101)), table.find(presenceHint(provider, keyOf(5), 101))]).toEqual([3 * friends - 3, undefined, undefined])
  })

  it('who tells another friend\'s key does not take its place, and leaves none behind', () => {
    const table = new HintTable<string>(provider, 100)
    table.set('ana', [{ epoch: 1, key: repeated(1) }])
    table.set('thief', [{ epoch: 9, key: repeated(1) }])
    const hint = presenceHint(provider, repeated(1), 100)
    expect(table.find(hint)).toBe('ana')
    table.set('thief', [])
    expect(table.find(hint)).toBe('ana')
    table.setHour(101)
    expect(table.find(hint)).toBe('ana')
  })

  it('a code has eight digits of both nonces and the handshake, and a commitment one opening', () => {
    const [h, ni, nr] = [repeated(1), repeated(2, 16), repeated(3, 16)]
    const code = pairCode(provider, h, ni, nr)
    expect(code).toMatch(/^\d{8}$/)
    const others = [pairCode(provider, repeated(9), ni, nr), pairCode(provider, h, repeated(9, 16), nr), pairCode(provider, h, ni, repeated(9, 16)), pairCode(provider, h, nr, ni)]
    expect(others).not.toContain(code)
    const commit = pairCommit(provider, h, nr)
    expect(verifyPairCommit(provider, h, nr, commit)).toBe(true)
    expect([verifyPairCommit(provider, h, ni, commit), verifyPairCommit(provider, repeated(9), nr, commit)]).toEqual([false, false])
    expect(toHex(commit)).not.toContain(toHex(nr))
  })
})

describe('presence keys that are told', () => {
  it('count by epoch: the newest two', () => {
    const key = (epoch: number): PresenceKey => ({ epoch, key: repeated(epoch) })
    let known: readonly PresenceKey[] = []
    for (const epoch of [3, 1, 3, 4, 2, 9]) known = withPresenceKey(known, key(epoch))
    expect(known.map(({ epoch }) => epoch)).toEqual([9, 4])
    expect(withPresenceKey(known, key(9))).toBe(known)
  })

  it('are read back from their frame, and cut ones are malformed', () => {
    const bytes = new Uint8Array(64)
    const frame = { epoch: 300, key: repeated(5) }
    const end = writePresenceKey(bytes, 0, frame)
    expect(end).toBe(presenceKeySize(frame))
    expect(readPresenceKey(new ByteReader(bytes.subarray(1, end)))).toEqual(frame)
    for (let cut = 1; cut < end; cut++) expect(readPresenceKey(new ByteReader(bytes.subarray(1, cut)))).toBeUndefined()
  })
})

describe('PAIR', () => {
  it('has the bytes of its op, and no others', () => {
    expect(FRAME_PAIR).toBe(0x32)
    for (const [number, op] of pairOps.entries()) {
      const bytes = new Uint8Array(1 + pairDataSize(op)).fill(7)
      bytes[0] = number
      expect(readPair(new ByteReader(bytes))).toEqual({ op, data: bytes.subarray(1) })
      if (pairDataSize(op) > 0) expect(readPair(new ByteReader(bytes.subarray(0, bytes.length - 1)))).toBeUndefined()
    }
    const reader = new ByteReader(Uint8Array.of(pairOps.length))
    expect(readPair(reader)).toBeUndefined()
    expect(reader.failed).toBe(true)
  })
})
