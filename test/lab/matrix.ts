import type { Meeting } from './meeting.ts'
import { natKinds, type NatKind } from './nat-rules.ts'

export type Matrix = ReadonlyMap<string, Meeting>

export function pairOf(near: NatKind, far: NatKind): string {
  return natKinds.indexOf(near) <= natKinds.indexOf(far) ? `${near} ${far}` : `${far} ${near}`
}

/** Every pair once. */
export const pairs: readonly (readonly [NatKind, NatKind])[] = natKinds.flatMap((near, i) => natKinds.slice(i).map((far) => [near, far] as const))

const strict: readonly NatKind[] = ['port', 'cgnat', 'sym', 'cgnatsym']
const changing: readonly NatKind[] = ['sym', 'cgnatsym']

/** Whether ports must be guessed: one of the two takes another port for each destination, and the other one looks at ports. */
export function isGuessed(near: NatKind, far: NatKind): boolean {
  return changing.includes(near) !== changing.includes(far) && strict.includes(near) && strict.includes(far)
}

/**
 * What must come of a pair. Two routers that both take another port for each destination do not meet: both sides would have to guess. Where
 * no UDP passes, TCP does the same without guesses: there every router of the lab looks at ports.
 */
export function expectedPath(near: NatKind, far: NatKind): Meeting['path'] {
  if (near === 'udpblock' || far === 'udpblock') return changing.includes(near) || changing.includes(far) ? 'none' : 'tcp'
  return changing.includes(near) && changing.includes(far) ? 'none' : 'udp'
}

const words = { udp: 'UDP', tcp: 'TCP', none: '–' } as const

export function inWords(ms: number | 'none'): string {
  return ms === 'none' ? 'not in time' : ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** Time to direct, then time to first message. */
function timesOf({ path, ms, firstMessageMs }: Meeting): string {
  return path === 'none' ? '' : `${inWords(ms)} / ${inWords(firstMessageMs)}`
}

/** For a terminal, path and time to direct / to the first message: a row and a column for each kind of router. */
export function matrixTable(matrix: Matrix): string {
  const cell = (near: NatKind, far: NatKind): string => {
    const meeting = matrix.get(pairOf(near, far))
    return meeting === undefined ? '?' : `${words[meeting.path]} ${timesOf(meeting)}`.trim()
  }
  const rows = [['', ...natKinds], ...natKinds.map((near) => [near, ...natKinds.map((far) => cell(near, far))])]
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows.map((row) => row.map((text, i) => text.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n')
}

/** The kinds that have a name of their own in RFC 4787, and their pairs: what others are measured by. */
const plain: readonly NatKind[] = ['full', 'addr', 'port', 'sym']
const DIRECT_GOAL = 15
const GUESSED_GOAL_MS = 10_000

/** The numbers that were promised, and what they are. */
export function matrixSummary(matrix: Matrix): string {
  const ordered = plain.flatMap((near) => plain.map((far) => matrix.get(pairOf(near, far))))
  const direct = ordered.filter((meeting) => meeting !== undefined && meeting.path !== 'none').length
  const guessed = pairs.filter(([near, far]) => isGuessed(near, far)).flatMap(([near, far]) => matrix.get(pairOf(near, far))?.ms ?? []).sort((a, b) => a - b)
  const lines = [`direct: ${direct} of ${ordered.length} in {${plain.join(', ')}}² (goal ${DIRECT_GOAL}), ${[...matrix.values()].filter(({ path }) => path !== 'none').length} of ${matrix.size} pairs in all`]
  if (guessed.length > 0) lines.push(`ports guessed: median ${inWords(guessed[guessed.length >> 1]!)} of ${guessed.length} pairs (goal ${inWords(GUESSED_GOAL_MS)})`)
  return lines.join('\n')
}

const CELL = 116
const HIGH = 40
const LEFT = 90
const TOP = 70
const colours = { udp: '#2da44e', tcp: '#bf8700', none: '#cf222e' } as const

/** The same as a picture. */
export function matrixPicture(matrix: Matrix): string {
  const width = LEFT + natKinds.length * CELL + 20
  const height = TOP + natKinds.length * HIGH + 40
  const cells = natKinds.flatMap((near, row) => natKinds.map((far, column) => {
    const meeting = matrix.get(pairOf(near, far))
    if (meeting === undefined) return ''
    const [x, y] = [LEFT + column * CELL, TOP + row * HIGH]
    return `<rect x="${x + 1}" y="${y + 1}" width="${CELL - 2}" height="${HIGH - 2}" rx="4" fill="${colours[meeting.path]}"/>`
      + `<text class="in" x="${x + CELL / 2}" y="${y + 17}">${words[meeting.path]}</text><text class="in" x="${x + CELL / 2}" y="${y + 32}">${timesOf(meeting)}</text>`
  }))
  const heads = natKinds.map((kind, i) => `<text text-anchor="middle" x="${LEFT + i * CELL + CELL / 2}" y="${TOP - 10}">${kind}</text><text text-anchor="end" x="${LEFT - 10}" y="${TOP + i * HIGH + 25}">${kind}</text>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<style>text { font: 13px system-ui, sans-serif; fill: #24292f } .in { fill: #fff; text-anchor: middle; font-size: 12px } .title { font-weight: 600; font-size: 15px }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }</style>
<text class="title" x="10" y="24">Two homes, by a two-way invite, while no server runs: path, time to direct / to the first message</text>
${[...heads, ...cells].join('\n')}
<text x="10" y="${height - 14}">Rows and columns: kinds of routers (test/lab/nat-rules.ts). Network namespaces on one machine.</text>
</svg>
`
}
