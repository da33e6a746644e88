import { describe, expect, it } from 'vitest'
import * as frames from '../../src/core/wire/frame.ts'
import { LIMITS_DEFAULT } from '../../src/core/wire/handshake-payload.ts'
import { configKeys } from '../../src/daemon/config/config-schema.ts'
import { readText, sectionsOf } from './support.ts'

const page = readText('docs/protocol.md')
const sections = sectionsOf(page)
const framesSection = sections.get('5. Frames')!

describe('docs/protocol.md', () => {
  it('has every frame type of the code under its number', () => {
    const types = Object.entries(frames).flatMap(([name, value]): [string, number][] => (name.startsWith('FRAME_') && typeof value === 'number' ? [[name, value]] : []))
    expect(types.length).toBeGreaterThan(18)
    for (const [name, value] of types) {
      const number = `0x${value.toString(16).toUpperCase().padStart(2, '0')}`
      const row = framesSection.split('\n').find((line) => line.startsWith(`| ${number} `) || line.startsWith(`| ≥ ${number} `))
      const word = name.slice('FRAME_'.length).replace(/_(OTHER|ECN).*/, '')
      expect([name, row?.toUpperCase().includes(word === 'FRAME_EXTENSION' ? 'EXTENSION' : word)]).toEqual([name, true])
    }
  })

  it('has the codes of CLOSE and of channels', () => {
    const named = new Map([...framesSection.split('### Channels')[0]!.matchAll(/\| (\d+) \| ([A-Za-z_ ]+?) (?=\|)/g)].map((match) => [match[2]!.toLowerCase().replaceAll(' ', '_'), Number(match[1])] as const))
    for (const [reason, code] of Object.entries(frames.closeCodes)) expect([reason, named.get(reason)]).toEqual([reason, code])
    const channel = framesSection.split('| channel code | |')[1]!
    expect([...channel.matchAll(/^\| (\d) \|/gm)].map((match) => Number(match[1]))).toEqual(Object.values(frames.channelCodes))
  })

  it('has the limits with their defaults', () => {
    const handshake = sections.get('3. Handshake')!
    const { maxData, maxChannelData, maxMessage, maxChannels, maxAckDelayMs, maxDatagram, idleKeepS } = LIMITS_DEFAULT
    const defaults = [`${maxData >> 20} MiB`, `${maxChannelData >> 20} MiB`, `${maxMessage >> 20} MiB`, `${maxChannels}`, `${maxAckDelayMs} ms`, `${maxDatagram}`, `${idleKeepS} s`]
    defaults.forEach((value, i) => expect(handshake).toMatch(new RegExp(`^\\| ${i + 1} \\| [a-z_ ]+ \\| ${value} \\|`, 'm')))
  })

  it('names only configuration keys that exist', () => {
    const table = page.split('### 6.1')[1]!.split('\n## ')[0]!
    const cells = table.split('\n').filter((line) => line.startsWith('| ')).map((line) => line.split('|').at(-2)!)
    const named = cells.flatMap((cell) => {
      const keys = [...cell.matchAll(/`([a-z_.]+)`/g)].map((match) => match[1]!)
      const section = keys[0]?.split('.')[0]
      return keys.map((key) => (key.includes('.') ? key : `${section ?? ''}.${key}`))
    })
    const known = Object.entries(configKeys).flatMap(([section, keys]) => keys.map((key) => `${section}.${key}`))
    expect(named.length).toBeGreaterThan(20)
    expect(named.filter((key) => !known.includes(key))).toEqual([])
  })

  it('prints vectors that the tests compute', () => {
    const computed = readText('test/core/session/wire-vectors.test.ts')
    const printed = sections.get('11. Vectors')!.match(/\b[0-9a-f]{16,}\b|\b[a-z2-7]{52}\b/g)!
    expect(printed.length).toBeGreaterThan(14)
    expect(printed.filter((vector) => !computed.includes(vector))).toEqual([])
  })
})
