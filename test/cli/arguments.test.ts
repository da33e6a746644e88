import { describe, expect, it } from 'vitest'
import { parseAppName, parseCount, parseInterval, parsePeerAddress, parsePeerName, parseSeconds } from '../../src/cli/arguments.ts'

describe('what people type behind options', () => {
  it('durations', () => {
    expect(['90', '90s', '30min', '12h', '7d', '0'].map((text) => parseSeconds(text, '--wait'))).toEqual([90, 90, 1800, 43_200, 604_800, 0])
    for (const text of ['', 'soon', '-1', '1.5h', '1m', '1e3', '99999d', '1 h ']) expect(() => parseSeconds(text, '--wait'), text).toThrow(expect.objectContaining({ code: 'params' }))
  })

  it('counts', () => {
    expect(parseCount('1', '-c')).toBe(1)
    expect(parseCount('0', '-c', 0)).toBe(0)
    for (const text of ['abc', '0', '-3', '1.5', '', ' 3', '0x10', '1e3', 'Infinity', 'NaN', '9999999999']) expect(() => parseCount(text, '-c'), text).toThrow(expect.objectContaining({ code: 'params' }))
  })

  it('pauses', () => {
    expect(['1', '0.2', '200ms', '5s', '1min', '10ms'].map((text) => parseInterval(text, '-i'))).toEqual([1000, 200, 200, 5000, 60_000, 10])
    for (const text of ['abc', '', '0', '0.001', '9ms', '61min', '-1', 'NaN', '1h', '.5']) expect(() => parseInterval(text, '-i'), text).toThrow(expect.objectContaining({ code: 'params' }))
  })

  it('names, addresses and apps', () => {
    expect(parsePeerName('Änna von Ü', '--name')).toBe('Änna von Ü')
    for (const text of ['', ' anna', 'a\nb', 'a\u001b[2J', 'ü'.repeat(33)]) expect(() => parsePeerName(text, '--name'), JSON.stringify(text)).toThrow(expect.objectContaining({ code: 'params' }))
    expect(parsePeerAddress('[2001:db8::1]:7000', '--address')).toBe('[2001:db8::1]:7000')
    for (const text of ['', 'anna.example:7000', '192.0.2.1', '192.0.2.1:0:1']) expect(() => parsePeerAddress(text, '--address'), text).toThrow(expect.objectContaining({ code: 'params' }))
    expect(parseAppName('chess/2', '--app')).toBe('chess/2')
    for (const text of ['', 'Chess', 'a b', 'x'.repeat(65)]) expect(() => parseAppName(text, '--app'), text).toThrow(expect.objectContaining({ code: 'params' }))
  })
})
