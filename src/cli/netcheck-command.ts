import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, IpcLifetime, NetcheckFamily, NetcheckResult, NetcheckTcp } from '../client/client.ts'
import type { Globals, Output } from './output.ts'
import { PosternError } from '../core/base/errors.ts'
import { portMappingText } from './port-mapping-text.ts'
import { withClient } from './session.ts'
import { millisecondsText, safeLine, table } from './text.ts'

/** How often it is looked how far a long measurement is. */
const LOOK_MS = 2000

/** What the network lets this node do: interfaces, UDP, NATs, servers, a gate. With `lifetime`, also how long the NAT keeps a mapping: minutes. */
export async function netcheck(globals: Globals, { lifetime }: { readonly lifetime: boolean }, output: Output): Promise<void> {
  const found = await withClient(globals, async (client) => {
    output.progress(lifetime ? 'asking STUN servers, then waiting for the router to forget: this takes up to seven minutes …' : 'asking STUN servers; this takes some seconds …')
    const asked = client.netcheck({ lifetime })
    if (lifetime) await follow(client, asked, output)
    return await asked
  })
  output.result('netcheck', found, () => netcheckText(found))
  if (!isAlone(found)) return
  throw new PosternError('timeout', 'No server outside answered.', {
    hint: 'Peers are still reached in the local network, at addresses that are known and ports that are mapped or forwarded, and by introduction. Other servers: [stun] servers in the configuration.',
  })
}

/** Somebody was to be asked, and nobody answered. */
function isAlone({ udp4, udp6, tcp }: NetcheckResult): boolean {
  return udp4.state !== 'off' && [udp4, udp6, tcp].every(({ state }) => state !== 'works')
}

/** Says what is known so far, whenever that is more than before. */
async function follow(client: Client, asked: Promise<unknown>, output: Output): Promise<void> {
  const ended = asked.then(() => true, () => true)
  let told = ''
  while (!await Promise.race([ended, sleep(LOOK_MS, false)])) {
    const now = (await client.status()).nat?.lifetime
    const text = now?.state === 'running' && now.aliveS + (now.goneS ?? 0) > 0 ? lifetimeText(now) : ''
    if (text !== told && text !== '') output.progress(`so far: ${text}`)
    told = text
  }
}

function lifetimeText({ state, aliveS, goneS }: IpcLifetime): string {
  if (state === 'off') return 'not asked: STUN is switched off'
  if (aliveS === 0 && goneS === undefined) return state === 'unsupported' ? 'not known: no server answers to another port (RFC 5780 RESPONSE-PORT)' : 'not known: no server answers'
  return [...(aliveS === 0 ? [] : [`still there after ${aliveS} s`]), ...(goneS === undefined ? [] : [`gone after ${goneS} s`])].join(', ')
}

export function netcheckText({ interfaces, udp4, udp6, tcp, unresolved, portal, portMapping, lifetime, tookMs }: NetcheckResult): string {
  return [
    ...familyLines('UDP over IPv4', udp4), '', ...familyLines('UDP over IPv6', udp6), '',
    ...tcpLines(tcp), '',
    'Servers', ...serverLines(udp4, udp6, unresolved), '',
    'Interfaces', indented(table(interfaces.map(({ name, address, kind }) => [name, address, kind]))), '',
    ...(lifetime === undefined ? [] : [`Lifetime of a silent mapping: ${lifetimeText(lifetime)}`]),
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
