import { EventEmitter } from 'node:events'
import { describe, expect, it } from 'vitest'
import { FullScreen, type KeyInput, type ScreenTerminal } from '../../src/cli/full-screen.ts'

class FakeTerminal extends EventEmitter implements ScreenTerminal {
  written = ''
  write(text: string): void {
    this.written += text
  }
}

class FakeKeys extends EventEmitter implements KeyInput {
  readonly isTTY: boolean
  raw = false
  reading = false
  constructor(isTTY: boolean) {
    super()
    this.isTTY = isTTY
  }
  setRawMode(raw: boolean): void {
    this.raw = raw
  }
  resume(): void {
    this.reading = true
  }
  pause(): void {
    this.reading = false
  }
}

function open(isTTY = true): { readonly terminal: FakeTerminal; readonly keys: FakeKeys; readonly screen: FullScreen; readonly seen: string[] } {
  const [terminal, keys, seen] = [new FakeTerminal(), new FakeKeys(isTTY), [] as string[]]
  const screen = new FullScreen(terminal, keys, { resize: () => seen.push('resize'), end: () => seen.push('end') })
  return { terminal, keys, screen, seen }
}

describe('the screen that is drawn over', () => {
  it('leaves the terminal as it was: screen, cursor, wrapping, keys, listeners; once', () => {
    const { terminal, keys, screen } = open()
    expect([keys.raw, keys.reading, terminal.written]).toEqual([true, true, '\u001b[?1049h\u001b[?25l\u001b[?7l'])
    terminal.written = ''
    screen[Symbol.dispose]()
    screen[Symbol.dispose]()
    screen.draw(['too late'])
    expect([keys.raw, keys.reading, terminal.written]).toEqual([false, false, '\u001b[?7h\u001b[?25h\u001b[?1049l'])
    expect([keys.listenerCount('data'), terminal.listenerCount('resize')]).toEqual([0, 0])
  })

  it('draws over what was there and clears what is left of it', () => {
    const { terminal, screen } = open()
    terminal.written = ''
    screen.draw(['one', 'two'])
    expect(terminal.written).toBe('\u001b[Hone\u001b[K\r\ntwo\u001b[K\u001b[J')
  })

  it('ends by q and Ctrl-C, not by other keys, and tells of a new size', () => {
    const { terminal, keys, seen } = open()
    for (const key of ['x', '\u001b[A', '\r']) keys.emit('data', Buffer.from(key))
    expect(seen).toEqual([])
    for (const key of ['q', 'Q', '\u0003', '\u0004']) keys.emit('data', Buffer.from(key))
    terminal.emit('resize')
    expect(seen).toEqual(['end', 'end', 'end', 'end', 'resize'])
  })

  it('takes no keys where standard input is none of a terminal', () => {
    const { keys } = open(false)
    expect([keys.raw, keys.reading, keys.listenerCount('data')]).toEqual([false, false, 0])
  })
})
