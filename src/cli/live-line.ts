import { cut } from './text.ts'

/** A part of `tty.WriteStream`. */
export interface LineTerminal {
  write(text: string): unknown
  readonly columns: number
}

const CLEAR_LINE = '\r\u001b[2K'

/** One line at the bottom of a terminal that is written over again and again, with lasting lines above it. */
export class LiveLine {
  readonly #terminal: LineTerminal
  #shown = ''

  constructor(terminal: LineTerminal) {
    this.#terminal = terminal
  }

  /** Never as wide as the terminal: a line that wraps cannot be cleared. */
  update(text: string): void {
    this.#shown = cut(text, this.#terminal.columns - 1)
    this.#terminal.write(`${CLEAR_LINE}${this.#shown}`)
  }

  /** A line that stays. */
  print(text: string): void {
    this.#terminal.write(`${CLEAR_LINE}${text}\n${this.#shown}`)
  }

  /** Takes the line away; what follows begins on a clean one. */
  end(): void {
    if (this.#shown !== '') this.#terminal.write(CLEAR_LINE)
    this.#shown = ''
  }
}
