import type { NetcheckFamily, NetcheckResult, NetcheckTcp } from '../client/client.ts'
import type { Globals, Output } from './output.ts'
import { portMappingText } from './port-mapping-text.ts'
import { withClient } from './session.ts'
import { millisecondsText, safeLine, table } from './text.ts'

/** What the network lets this node do: interfaces, UDP, NATs, servers, a gate. */
export async function netcheck(globals: Globals, output: Output): Promise<void> {
  const found = await withClient(globals, (client) => {
    output.progress('asking STUN servers; this takes some seconds …')
    return client.netcheck()
  })
  output.result('netcheck', found, () => netcheckText(found))
}

export function netcheckText({ interfaces, udp4, udp6, tcp, unresolved, portal, portMapping, tookMs }: NetcheckResult): string {
  return [
    ...familyLines('UDP over IPv4', udp4), '', ...familyLines('UDP over IPv6', udp6), '',
    ...tcpLines(tcp), '',
    'Servers', ...serverLines(udp4, udp6, unresolved), '',
    'Interfaces', indented(table(interfaces.map(({ name, address, kind }) => [name, address, kind]))), '',
    `Port mapping: ${portMappingText(portMapping)}`,
    `Login page: ${{ none: 'none', likely: 'likely; open a browser and log in', unknown: 'not known' }[portal]}. It took ${(tookMs / 1000).toFixed(1)} s.`,
  ].join('\n')
}

function familyLines(title: string, { state, mapped, portKept, mapping, filtering, word, hairpin, meaning }: NetcheckFamily): string[] {
  if (state !== 'works') return [`${title}: ${{ silent: 'no answer', unreachable: 'unreachable', no_address: 'no address', no_server: 'no server', off: 'not asked' }[state]}`, `  ${meaning}`]
  const rows = [
    ['seen at', `${mapped ?? ''}${portKept === true ? ' (same port)' : ''}`],
    ['mapping', classText(mapping)],
    ['filtering', classText(filtering)],
    ...(hairpin === undefined ? [] : [['hairpin', hairpin ? 'yes' : 'no']]),
  ]
  return [`${title}: ${word === 'unknown' ? 'works' : word}`, `  ${meaning}`, indented(table(rows))]
}

function tcpLines({ state, mapped, portKept, server, connectMs, punching }: NetcheckTcp): string[] {
  const head = `TCP: ${{ works: 'works', silent: 'no answer', no_server: 'no server', off: 'not asked' }[state]}`
  const meaning = punching ? 'Dials leave from the port that is listened on: two that dial each other at the same time can pass their routers.'
    : 'Dials cannot leave from the port that is listened on (no native addon, or nothing listens): TCP passes no router that lets nobody in.'
  if (mapped === undefined) return [head, `  ${meaning}`]
  const took = connectMs === undefined ? '' : `, ${millisecondsText(connectMs)} ms to connect and be answered`
  return [head, `  ${meaning}`, `  seen at    ${mapped}${portKept === true ? ' (same port)' : ''}, by ${safeLine(server ?? '')}${took}`]
}

function classText(name: string): string {
  return { none: 'none: the address is this machine\'s own', dependent: 'by destination', unknown: 'not known' }[name] ?? name
}

function serverLines(udp4: NetcheckFamily, udp6: NetcheckFamily, unresolved: readonly string[]): string[] {
  const asked = [...udp4.servers, ...udp6.servers].map(({ name, address, outcome, rttMs, behaviour }) => [
    safeLine(name), address, outcome === 'answered' ? (rttMs === undefined ? 'answers' : `${millisecondsText(rttMs)} ms`) : outcome, behaviour ? 'RFC 5780' : '',
  ])
  const rows = [...asked, ...unresolved.map((name) => [safeLine(name), 'no address', '', ''])]
  return [rows.length === 0 ? '  none' : indented(table(rows))]
}

function indented(text: string): string {
  return text.split('\n').map((line) => `  ${line}`).join('\n')
}
