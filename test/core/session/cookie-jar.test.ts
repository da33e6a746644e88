import { describe, expect, it } from 'vitest'
import { second, toInstant } from '../../../src/core/base/time.ts'
import { CookieJar } from '../../../src/core/session/cookie-jar.ts'
import { repeated } from '../../support/bytes.ts'

const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(seconds * second)

describe('the cookies we were given (WIRE.md §3.6)', () => {
  it('are of one node at one address, for 120 s; the newest counts', () => {
    const jar = new CookieJar()
    jar.put(at(0), repeated(1), repeated(7, 18), repeated(0xa, 16))
    jar.put(at(5), repeated(1), repeated(7, 18), repeated(0xb, 16))
    expect(jar.get(at(124.9), repeated(1), repeated(7, 18))).toEqual(repeated(0xb, 16))
    expect([jar.get(at(125), repeated(1), repeated(7, 18)), jar.get(at(5), repeated(2), repeated(7, 18)), jar.get(at(5), repeated(1), repeated(8, 18))]).toEqual([undefined, undefined, undefined])
  })

  it('are bounded: of 1025 the oldest goes', () => {
    const jar = new CookieJar()
    const address = (number: number): Uint8Array => Uint8Array.of(...repeated(0, 16), number >> 8, number & 255)
    for (let i = 0; i < 1024; i++) jar.put(at(0), repeated(1), address(i), repeated(1, 16))
    // Renewed, the first is not the oldest any more.
    jar.put(at(1), repeated(1), address(0), repeated(2, 16))
    jar.put(at(1), repeated(1), address(1024), repeated(3, 16))
    expect([jar.size, jar.get(at(1), repeated(1), address(0)), jar.get(at(1), repeated(1), address(1))]).toEqual([1024, repeated(2, 16), undefined])
  })
})
