import { describe, expect, it } from 'vitest'
import { ago, bytesText, cut, displayWidth, millisecondsText, padEnd, percentText, safeLine, safeText, table } from '../../src/cli/text.ts'

describe('text from somebody else', () => {
  it('cannot command a terminal, nor turn the direction of writing', () => {
    expect(safeLine('a\u001b]0;title\u0007b\u009bc')).toBe('a\\u001b]0;title\\u0007b\\u009bc')
    expect(safeLine('ab\u202etxt.exe')).toBe('ab\\u202etxt.exe')
    expect(safeLine('plain ünd ☾ 漢字')).toBe('plain ünd ☾ 漢字')
  })

  it('cannot forge a line: its own are indented, or shown', () => {
    expect(safeLine('hello\nkwe3db3r: I am somebody else')).toBe('hello\\u000akwe3db3r: I am somebody else')
    expect(safeText('hello\nkwe3db3r: I am\r\nsomebody\relse\t!')).toBe('hello\n  kwe3db3r: I am\n  somebody\n  else\t!')
    expect(safeText('a\u2028b\u0085c')).toBe('a\\u2028b\\u0085c')
  })
})

describe('columns', () => {
  it('are counted as a terminal shows them', () => {
    expect(displayWidth('anna')).toBe(4)
    expect(displayWidth('漢字')).toBe(4)
    expect(displayWidth('e\u0301')).toBe(1)
    expect(displayWidth('🎲')).toBe(2)
    expect(displayWidth('Ä☾…')).toBe(3)
  })

  it('are cut at the width, never in the middle of a wide character', () => {
    expect(cut('hello', 5)).toBe('hello')
    expect(cut('hello', 4)).toBe('hel…')
    expect(cut('漢字漢字', 4)).toBe('漢…')
    expect(cut('hello', 1)).toBe('…')
    expect(cut('hello', 0)).toBe('')
  })

  it('are as wide as their widest cell', () => {
    expect(table([['PEER', 'NAME', 'X'], ['a', '漢字', '1'], ['abcdef', 'b', '']])).toBe('PEER    NAME  X\na       漢字  1\nabcdef  b')
    expect(padEnd('漢', 4)).toBe('漢  ')
  })
})

it('figures', () => {
  expect([0, 999, 1000, 61_000, 3_600_000, 90_061_000, -5].map(ago)).toEqual(['0 s', '0 s', '1 s', '1 min 1 s', '1 h', '1 d 1 h', '0 s'])
  expect([0, 1023, 1024, 1_572_864].map(bytesText)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 MiB'])
  expect([0.041, 9.994, 12.34, 123.4].map(millisecondsText)).toEqual(['0.04', '9.99', '12.3', '123'])
  expect([0, 0.004, 0.5, 0.9996, 1].map(percentText)).toEqual(['0 %', '0.4 %', '50.0 %', '100 %', '100 %'])
})
