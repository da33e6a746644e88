import { describe, expect, it } from 'vitest'
import { allows, anyPath, faultOf, tierOf, type PathPolicy } from '../../../src/core/path/path-policy.ts'

const policy = (wish: Partial<PathPolicy>): PathPolicy => ({ ...anyPath, ...wish })

describe('a path policy', () => {
  it('allows what it does not forbid', () => {
    expect([allows(anyPath, 'udp'), allows(anyPath, 'tcp')]).toEqual([true, true])
    expect([allows(policy({ only: 'tcp' }), 'udp'), allows(policy({ only: 'tcp' }), 'tcp')]).toEqual([false, true])
    expect([allows(policy({ never: ['tcp'] }), 'udp'), allows(policy({ never: ['tcp'] }), 'tcp')]).toEqual([true, false])
  })

  it('puts what it prefers before every tier', () => {
    expect(tierOf(anyPath, 'udp')).toBeLessThan(tierOf(anyPath, 'tcp'))
    expect(tierOf(policy({ prefer: 'tcp' }), 'tcp')).toBeLessThan(tierOf(policy({ prefer: 'tcp' }), 'udp'))
  })

  it.each<[Partial<PathPolicy>, keyof PathPolicy | undefined, keyof PathPolicy | undefined]>([
    [{}, undefined, undefined],
    [{ prefer: 'tcp' }, undefined, undefined],
    [{ only: 'tcp', prefer: 'tcp', never: ['udp'] }, undefined, undefined],
    [{ only: 'tcp', never: ['tcp'] }, 'only', 'never'],
    [{ never: ['udp', 'tcp'] }, undefined, undefined],
    [{ never: ['udp', 'tcp', 'ble'] }, 'never', 'never'],
    [{ prefer: 'udp', never: ['udp'] }, 'prefer', 'never'],
    [{ prefer: 'udp', only: 'tcp' }, 'prefer', 'only'],
  ])('%j contradicts itself in %s, because of %s', (wish, member, against) => {
    const fault = faultOf(policy(wish))
    expect([fault?.member, fault?.against]).toEqual([member, against])
  })
})
