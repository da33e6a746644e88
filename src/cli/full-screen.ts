/** A part of `tty.WriteStream`. */
export interface ScreenTerminal {
  write(text: string): unknown
  on(event: 'resize', listener: () => void): unknown
  off(event: 'resize', listener: () => void): unknown
}

/** A part of `tty.ReadStream`. */
export interface KeyInput {
  readonly isTTY: boolean
  setRawMode(raw: boolean): unknown
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  off(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  resume(): unknown
  pause(): unknown
}

/** The other screen, without a cursor; lines do not wrap. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const CLEAR_TO_LINE_END = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'
/** q, Q, Ctrl-C, Ctrl-D: in raw mode the terminal sends no signals. */
const END_KEYS: readonly number[] = [0x71, 0x51, 0x03, 0x04]

/** A screen that is drawn over in place. Whoever opens it closes it: the terminal is then as it was before. */
export class FullScreen implements Disposable {
  readonly #terminal: ScreenTerminal
  readonly #keys: KeyInput
  readonly #onResize: () => void
  readonly #onKey: (chunk: Uint8Array) => void
  #open = true

  constructor(terminal: ScreenTerminal, keys: KeyInput, on: { readonly resize: () => void; readonly end: () => void }) {
    this.#terminal = terminal
    this.#keys = keys
    this.#onResize = on.resize
    this.#onKey = (chunk) => {
      if (chunk.some((byte) => END_KEYS.includes(byte))) on.end()
    }
    terminal.write(ENTER)
    terminal.on('resize', this.#onResize)
    if (!keys.isTTY) return
    keys.setRawMode(true)
    keys.on('data', this.#onKey)
    keys.resume()
  }

  /** Writes over what was there, without clearing first: nothing flickers. */
  draw(lines: readonly string[]): void {
    if (this.#open) this.#terminal.write(`${HOME}${lines.map((line) => `${line}${CLEAR_TO_LINE_END}`).join('\r\n')}${CLEAR_BELOW}`)
  }

  [Symbol.dispose](): void {
    if (!this.#open) return
    this.#open = false
    this.#terminal.off('resize', this.#onResize)
    if (this.#keys.isTTY) {
      this.#keys.off('data', this.#onKey)
      this.#keys.setRawMode(false)
      this.#keys.pause()
    }
    this.#terminal.write(LEAVE)
  }
}
