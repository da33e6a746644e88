import { encode } from 'uqr'
import { describe, expect, it } from 'vitest'
import { drawModules, qrPicture } from '../../src/cli/qr-code.ts'

const LINK = `postern:1/${'VYmxh3FD0Oi1IdNInY_T8uLb-bE9e5KQV'.repeat(4)}`.slice(0, 124)

/** What a camera sees: for each half of each character, whether it is dark. */
function seen(lines: readonly string[], background: 'dark' | 'light' | 'painted'): boolean[][] {
  const rows: boolean[][] = []
  for (const line of lines) {
    const painted = /^\u001b\[38;5;16;48;5;231m(.*)\u001b\[0m$/.exec(line)
    expect(painted !== null).toBe(background === 'painted')
    const cells = Array.from(painted?.[1] ?? line)
    // Foreground is black when painted or on a light terminal, light on a dark one.
    const ink = background !== 'dark'
    rows.push(cells.map((cell) => (cell === '█' || cell === '▀') === ink), cells.map((cell) => (cell === '█' || cell === '▄') === ink))
  }
  return rows
}

describe('the QR code of a link', () => {
  it.each([true, false])('shows the modules of the code, with colours: %s', async (colours) => {
    const { data } = encode(LINK, { ecc: 'L', border: 4 })
    const { lines, width } = await qrPicture(LINK, colours)
    const camera = seen(lines, colours ? 'painted' : 'dark')
    expect(width).toBe(data.length)
    expect(camera.slice(0, data.length)).toEqual(data)
    // An odd number of rows leaves a half row over, which must be light.
    expect(camera.slice(data.length).flat().some((dark) => dark)).toBe(false)
  })

  it('has a quiet zone of four light modules on every side', async () => {
    const camera = seen((await qrPicture(LINK, true)).lines, 'painted')
    const edge = camera.flatMap((row, y) => row.filter((_, x) => y < 4 || y >= row.length - 4 || x < 4 || x >= row.length - 4))
    expect(edge.length).toBeGreaterThan(600)
    expect(edge.some((dark) => dark)).toBe(false)
    expect(camera[4]![4]).toBe(true)
  })

  it('takes 49 columns for a link of 124 characters, and two modules a line', async () => {
    const { lines, width } = await qrPicture(LINK, false)
    expect([LINK.length, width, lines.length]).toEqual([124, 49, 25])
    expect(lines.every((line) => Array.from(line).length === 49)).toBe(true)
  })

  it('holds the longest link there is', async () => {
    expect((await qrPicture(`postern:1/${'x'.repeat(492)}`, false)).width).toBeLessThan(110)
  })
})

it('two modules make one character', () => {
  expect(drawModules([[true, true, false, false], [true, false, true, false]], false)).toEqual([' ▄▀█'])
  expect(drawModules([[true, true, false, false], [true, false, true, false]], true)).toEqual(['\u001b[38;5;16;48;5;231m█▀▄ \u001b[0m'])
})
