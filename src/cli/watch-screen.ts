/** What `postern watch` shows, made of plain values. */
import type { PeerInfo, StatusResult } from '../client/client.ts'
import type { WatchRates, WatchResult } from './results.ts'
import { summaryText } from './ble-text.ts'
import { ago, bytesText, cut, displayWidth, millisecondsText, padEnd, percentText, safeLine, pathText } from './text.ts'

/** What the daemon counted per second from one look to the next. A restart in between counts from nothing. */
export function ratesBetween(before: StatusResult, after: StatusResult): WatchRates | undefined {
  const seconds = (after.uptimeMs - before.uptimeMs) / 1000
  if (seconds <= 0) return undefined
  const rate = (name: string): number => Math.round((10 * Math.max(0, (after.counters[name] ?? 0) - (before.counters[name] ?? 0))) / seconds) / 10
  return {
    messagesReceived: rate('messages_received'), messagesSent: rate('messages_sent'),
    datagramsReceived: rate('datagrams_received'), datagramsSent: rate('datagrams_sent'),
    bytesReceived: rate('bytes_received'), bytesSent: rate('bytes_sent'), packetsLost: rate('packets_lost'),
  }
}

const STATES: readonly PeerInfo['state'][] = ['connected', 'dialing', 'unreachable', 'offline']
const COLOUR_OF_STATE: Readonly<Record<PeerInfo['state'], string>> = { connected: '32', dialing: '33', unreachable: '31', offline: '2' }

/** The connected first, then by name, then by id: rows stay where they are as long as nothing happens. */
export function inOrder(peers: readonly PeerInfo[]): readonly PeerInfo[] {
  const key = (peer: PeerInfo): string => `${STATES.indexOf(peer.state)} ${peer.name ?? '\uffff'} ${peer.id}`
  return peers.map((peer) => ({ peer, key: key(peer) })).sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ peer }) => peer)
}

interface Column {
  readonly title: string
  readonly cell: (peer: PeerInfo, now: number) => string
  readonly right?: true
}

/** Every column a table may have. The narrower the terminal, the fewer: the last of {@link DROPPED} goes last. */
const COLUMNS: Readonly<Record<string, Column>> = {
  peer: { title: 'PEER', cell: (peer) => (peer.name === undefined ? peer.id.slice(0, 8) : cut(safeLine(peer.name), 24)) },
  id: { title: 'ID', cell: (peer) => peer.id.slice(0, 8) },
  state: { title: 'STATE', cell: (peer) => peer.state },
  since: { title: 'FOR', cell: (peer, now) => ago(now - peer.since), right: true },
  path: { title: 'PATH', cell: (peer) => (peer.path === undefined ? '-' : pathText(peer.path)) },
  kind: { title: 'PATH', cell: (peer) => peer.path?.split(' ')[0] ?? '-' },
  rtt: { title: 'RTT', cell: (peer) => (peer.rttMs === undefined ? '-' : `${millisecondsText(peer.rttMs)} ms`), right: true },
  loss: { title: 'LOSS', cell: (peer) => (peer.loss === undefined ? '-' : percentText(peer.loss)), right: true },
  channels: { title: 'CHANNELS', cell: (peer) => String(peer.channels ?? '-'), right: true },
}
const DROPPED: readonly (readonly string[])[] = [
  ['peer', 'id', 'state', 'since', 'path', 'rtt', 'loss', 'channels'], ['peer', 'state', 'since', 'path', 'rtt', 'loss', 'channels'],
  ['peer', 'state', 'path', 'rtt', 'loss', 'channels'], ['peer', 'state', 'kind', 'rtt', 'loss', 'channels'], ['peer', 'state', 'kind', 'rtt', 'loss'], ['peer', 'state', 'kind', 'rtt'], ['peer', 'state'],
]

export interface ScreenSize {
  readonly columns: number
  readonly rows: number
  readonly colours: boolean
}

/** The lines of one snapshot, none wider than the screen and none too many; what does not fit is counted. */
export function watchLines(snapshot: WatchResult, size: ScreenSize): readonly string[] {
  const { peers, rates } = snapshot
  const connected = peers.filter(({ state }) => state === 'connected').length
  const head = [
    `postern ${snapshot.version}  ${snapshot.peerId.slice(0, 8)}  up ${ago(snapshot.uptimeMs)}  ${peers.length} ${peers.length === 1 ? 'peer' : 'peers'}, ${connected} connected`,
    rates === undefined ? 'rates from the next look on' : `in ${trafficText(rates.bytesReceived, rates.datagramsReceived, rates.messagesReceived)}   out ${trafficText(rates.bytesSent, rates.datagramsSent, rates.messagesSent)}   lost ${rateText(rates.packetsLost)}/s`,
    ...lanesLine(snapshot.lanes),
    ...bleLine(snapshot.ble),
    '',
  ].map((line) => cut(line, size.columns))
  const rowsLeft = Math.max(1, size.rows - head.length - 1)
  const shown = inOrder(peers).slice(0, peers.length > rowsLeft ? rowsLeft - 1 : rowsLeft)
  const hidden = peers.length - shown.length
  const body = peers.length === 0 ? ['There are no peers yet. Let somebody in: postern invite'] : tableLines(shown, snapshot.at, size)
  return [...head, ...body.map((line) => (size.colours ? line : cut(line, size.columns))), ...(hidden === 0 ? [] : [cut(`… and ${hidden} more`, size.columns)])].slice(0, size.rows)
}

function tableLines(peers: readonly PeerInfo[], now: number, size: ScreenSize): readonly string[] {
  for (const names of DROPPED) {
    const columns = names.map((name) => COLUMNS[name]!)
    const cells = peers.map((peer) => columns.map((column) => column.cell(peer, now)))
    const widths = columns.map((column, i) => Math.max(column.title.length, ...cells.map((row) => displayWidth(row[i]!))))
    const width = widths.reduce((sum, each) => sum + each, 2 * (widths.length - 1))
    if (width > size.columns && names !== DROPPED.at(-1)) continue
    const line = (row: readonly string[]): string[] => row.map((cell, i) => (columns[i]!.right === true ? ' '.repeat(widths[i]! - displayWidth(cell)) + cell : padEnd(cell, widths[i]!)))
    const paint = (row: readonly string[], peer: PeerInfo): string[] => row.map((cell, i) => (size.colours && columns[i] === COLUMNS['state'] ? `\u001b[${COLOUR_OF_STATE[peer.state]}m${cell}\u001b[0m` : cell))
    // What is too wide even so is cut without colours: a cut escape sequence would colour the rest.
    const text = width > size.columns ? (row: readonly string[]) => cut(row.join('  '), size.columns) : (row: readonly string[], peer?: PeerInfo) => (peer === undefined ? row : paint(row, peer)).join('  ').trimEnd()
    return [text(line(columns.map(({ title }) => title))), ...cells.map((row, i) => text(line(row), peers[i]))]
  }
  return []
}

/** Of lanes in which something waits or was dropped; no line where all is well. */
function lanesLine(lanes: StatusResult['lanes']): readonly string[] {
  const parts = Object.entries(lanes).map(([name, { queued, dropped }]) => {
    const lost = Object.values(dropped).reduce((sum, count) => sum + count, 0)
    const words = [...(queued > 0 ? [`${queued} waiting`] : []), ...(lost > 0 ? [`${lost} dropped`] : [])]
    return words.length === 0 ? '' : `${name} ${words.join(' ')}`
  }).filter((part) => part !== '')
  return parts.length === 0 ? [] : [`messages: ${parts.join(', ')}`]
}

/** Where there is an adapter, be it out of order; a machine without one has nothing to say in each look. */
function bleLine(ble: WatchResult['ble']): readonly string[] {
  return ble === undefined || ble.state === 'disabled' || ble.state === 'absent' ? [] : [`bluetooth: ${summaryText(ble)}`]
}

function trafficText(bytes: number, datagrams: number, messages: number): string {
  return `${bytesText(bytes)}/s ${rateText(datagrams)} datagrams/s ${rateText(messages)} messages/s`
}

function rateText(rate: number): string {
  return rate === 0 || rate >= 10 ? rate.toFixed(0) : rate.toFixed(1)
}
