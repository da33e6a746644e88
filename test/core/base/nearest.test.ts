import { describe, expect, it } from 'vitest'
import { nearest } from '../../../src/core/base/nearest.ts'

describe('nearest', () => {
  it('finds swaps and slips, and makes no far guesses', () => {
    expect(nearest('prot', ['port', 'bind'])).toBe('port')
    expect(nearest('bnd', ['port', 'bind'])).toBe('bind')
    expect(nearest('elephant', ['port', 'bind'])).toBeUndefined()
    expect(nearest('x', ['port', 'bind'])).toBeUndefined()
    expect(nearest('', ['port'])).toBeUndefined()
  })

  it('takes upper and lower case for the same, and gives back the word as it is known', () => {
    expect(nearest('ANA', ['Anna', 'bob'])).toBe('Anna')
  })

  it('looks at the beginning of a long word only', () => {
    expect(nearest('p'.repeat(100_000), ['port'])).toBeUndefined()
  })
})
