import { describe, expect, it } from 'vitest'
import type { PeerInfo } from '../../src/client/client.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import { findPeer } from '../../src/cli/session.ts'

const id = (begin: string): string => `${begin}${'a'.repeat(52 - begin.length)}`
const peer = (begin: string, name?: string): PeerInfo => ({ id: id(begin), handle: 1, state: 'offline', since: 0, ...(name === undefined ? {} : { name }) })
const known = [peer('abcd2', 'anna'), peer('abcd3', 'bob'), peer('xyz22', 'twin'), peer('xyz33', 'twin'), peer('qqqq')]

function refusal(text: string, peers = known): PosternError {
  try {
    return expect.fail(`found ${findPeer(text, peers)}`)
  } catch (error) {
    if (error instanceof PosternError) return error
    throw error
  }
}

describe('a peer as people name it', () => {
  it('is a name, a whole id in either case, or a beginning that one peer has', () => {
    expect(findPeer('anna', known)).toBe(id('abcd2'))
    expect(findPeer(id('qqqq').toUpperCase(), known)).toBe(id('qqqq'))
    expect(findPeer('abcd3', known)).toBe(id('abcd3'))
    expect(findPeer('QQQQ', known)).toBe(id('qqqq'))
    // Nobody's yet: the commands that need a known peer look for themselves.
    expect(findPeer(id('stranger'), known)).toBe(id('stranger'))
  })

  it('cannot be taken over by giving another peer its id for a name', () => {
    expect(findPeer(id('qqqq'), [...known, peer('evil', id('qqqq'))])).toBe(id('qqqq'))
  })

  it('is refused when it could be several, with their ids', () => {
    expect(refusal('abcd')).toMatchObject({ code: 'unknown_peer', message: 'abcd could be 2 peers.', hint: `Say more of the id: ${id('abcd2')} (anna), ${id('abcd3')} (bob)` })
    expect(refusal('twin')).toMatchObject({ message: 'twin could be 2 peers.', hint: `Say more of the id: ${id('xyz22')}, ${id('xyz33')}` })
  })

  it('is refused when it is nobody, with the nearest name and what to type', () => {
    expect(refusal('ana')).toMatchObject({ code: 'unknown_peer', message: 'No peer is called ana; did you mean anna?', hint: 'Names and ids: postern peers' })
    expect(refusal('elephant')).toMatchObject({ message: 'No peer is called elephant.' })
    expect(refusal('qqq')).toMatchObject({ code: 'unknown_peer' })
    expect(refusal('ana', []).hint).toMatch(/postern invite/)
  })

  it('is refused when it has the length of an id and is none', () => {
    expect(refusal(id('abcd').replace('abcd', 'ABcd'))).toMatchObject({ code: 'bad_peer_id' })
    expect(refusal(`${id('abcd').slice(0, -1)}b`)).toMatchObject({ code: 'bad_peer_id' })
  })
})
