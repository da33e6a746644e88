/** `postern why` for people: the document as text. Pure, so that tests can hold it to fixed ones. */
import type { IpcNat, PeerWhyResult, WhyEvent, WhyNats, WhyPair, WhyPathInfo, WhyPlace } from '../client/client.ts'
import { radioText } from './ble-text.ts'
import { policyText } from './policy-text.ts'
import { ago, cut, millisecondsText, percentText, safeLine, table, wrap, pathText } from './text.ts'

const results: Readonly<Record<string, string>> = {
  waiting: 'no answer yet', answered: 'the peer answered', opened: 'a connection, no answer on it yet', called_off: 'called off: another way was found', no_answer: 'no answer',
  refused: 'refused: nobody listens there', unreachable: 'unreachable: no way to go', forbidden: 'forbidden by this machine', not_postern: 'no Postern daemon', no_resources: 'out of sockets or memory',
  failed: 'failed', policy: 'not tried: the policy forbids it',
  in_use: 'in use', works: 'works', silent: 'silent', quarantined: 'rests: loses data', not_tried: 'not tried', not_asked: 'not tried: nobody is sent there by a peer\'s word',
}

const states: Readonly<Record<string, string>> = {
  proven: 'works', asked: 'asked', silent: 'silent', refused: 'refused by the system', quarantined: 'rests: loses data', policy: 'forbidden by the policy',
}

/** Rows that are wider than `columns` are cut, sentences go on in the next line. */
export function whyText(why: PeerWhyResult, columns: number): string {
  const who = safeLine(why.name ?? why.id.slice(0, 8))
  const parts = [headline(why, who), policyText('Policy', why.policy)]
  if (why.paths.length > 0) parts.push('', 'Paths', indent(pathTable(why.paths, why.at)), ...why.paths.flatMap(radioLine))
  if (why.nat.between) parts.push('', 'Routers in between', ...natLines(why.nat, columns), ...guessLines(why))
  if (why.pairs.length > 0) parts.push('', 'Pairs of addresses', indent(pairTable(why)))
  if (why.history.length > 0) parts.push('', `What happened (the last ${why.bounds.history})`, indent(historyTable(why.history, why.at)))
  const told = parts.flatMap((part) => part.split('\n')).map((line) => cut(safeLine(line), columns))
  return [...told, ...advice(why, columns)].join('\n')
}

function headline(why: PeerWhyResult, who: string): string {
  const { path, state } = why
  if (path !== undefined) return `${who} is reached by ${placeText(path)} for ${ago(why.at - path.since)}: ${path.because}.`
  const reason = why.reason === undefined ? '' : ` (${why.reason})`
  return `${who} is ${state}${reason} for ${ago(why.at - why.since)}${dialText(why)}.`
}

function dialText({ dial }: PeerWhyResult): string {
  if (dial === undefined) return ''
  const next = dial.nextMs === undefined || dial.loud ? '' : `, the next time in ${ago(dial.nextMs)}`
  return dial.loud ? '; it is being dialed' : `; it is dialed now and then${next}`
}

function pathTable(paths: readonly WhyPathInfo[], at: number): string {
  return table([['PATH', 'STATE', 'RTT', 'LOSS', 'MTU', 'ANSWERED'], ...paths.map((path) => [
    `${placeText(path)}${path.active ? ' *' : ''}`, states[path.state] ?? path.state, path.rttMs === undefined ? '-' : `${millisecondsText(path.rttMs)} ms`,
    percentText(path.loss), `${path.mtu}`, path.answeredAt === undefined ? '-' : `${ago(at - path.answeredAt)} ago`,
  ])])
}

function radioLine(path: WhyPathInfo): string[] {
  return path.radio === undefined ? [] : [`  ${placeText(path)}: ${radioText(path.radio).join(', ')}`]
}

function natLines({ ours, theirs, outlook, text }: WhyNats, columns: number): string[] {
  const rows = [`  here   ${natText(ours)}`, `  there  ${natText(theirs)}`]
  // Where one side lets in everybody there is nothing to explain, and of an unknown class the rows say all.
  return [...rows, ...(outlook === 'plain' || outlook === 'unknown' ? [] : [`  ${text}`])].flatMap((line, i) => wrap(line, columns, i < 2 ? ' '.repeat(9) : '  '))
}

const guesses = { running: 'is under way', met: 'led to the session', in_vain: 'led nowhere', called_off: 'was called off' } as const

function guessLines({ guess, at }: PeerWhyResult): string[] {
  if (guess === undefined) return []
  const { role, target, startedAt, outcome, sent, heard } = guess
  return [`  Guessing ports (${role === 'hard' ? 'by many sockets here' : 'by many ports there'}, ${target}) ${guesses[outcome]}: ${ago(at - startedAt)} ago, ${sent} sent, ${heard} heard.`]
}

const sources: Readonly<Record<string, string>> = { netcheck: 'by netcheck', servers: 'by what two servers see', told: 'it says so', seen: 'by where it is seen' }

function natText(nat: IpcNat & { readonly ipv6: boolean; readonly servers?: string }): string {
  const { word, mapping, filtering, from, ipv6, servers } = nat
  const kind = word === 'unknown' ? 'not known' : word
  const mapped = mapping === 'unknown' ? [] : [`mapping ${mapping === 'dependent' ? 'by destination' : mapping}`]
  const filtered = filtering === 'unknown' ? [] : [`filtering ${filtering}`]
  const source = sources[from] === undefined ? [] : [sources[from]]
  const asked = servers === 'silent' ? ['no STUN server answers'] : servers === 'off' ? ['STUN is switched off'] : []
  const details = [...mapped, ...filtered, ...source, ...asked, ...(ipv6 ? ['has IPv6'] : [])]
  return details.length === 0 ? kind : `${kind}: ${details.join(', ')}`
}

function pairTable({ pairs, probes, at }: PeerWhyResult): string {
  return table([['KIND', 'OURS', 'THEIRS', 'RESULT', '', ''], ...pairs.map((pair) => [
    pair.kind, candidateText(pair.ours), candidateText(pair.theirs), pairText(pair, probes), pair.count === 0 ? '' : pair.count === 1 ? 'once' : `${pair.count} times`, pair.at === undefined ? '' : `${ago(at - pair.at)} ago`,
  ])])
}

function candidateText(candidate: WhyPair['ours']): string {
  return candidate === undefined ? '-' : candidate.type === 'known' ? candidate.address : `${candidate.address} ${candidate.type.replace('tcp-', '')}`
}

function pairText({ kind, theirs, result }: WhyPair, probes: PeerWhyResult['probes']): string {
  const rest = kind === 'udp' ? probes.find(({ address }) => address === theirs.address)?.restMs : undefined
  return rest === undefined ? results[result] ?? result : `rests for ${ago(rest)}: it answered probes, but lost data`
}

function historyTable(history: readonly WhyEvent[], at: number): string {
  return table(history.map((event) => [`${ago(at - event.at)} ago`, `${event.text}${event.count === undefined ? '' : ` (${event.count} times)`}`]))
}

/** Of several each begins with a dash; commands stay on one line, to be copied. */
function advice({ advice: all }: PeerWhyResult, columns: number): string[] {
  const [dash, indent] = all.length > 1 ? ['- ', '  '] : ['', '']
  return all.length === 0 ? [] : ['', ...all.flatMap(({ text, command }) => [...wrap(`${dash}${safeLine(text)}`, columns, indent), ...(command === undefined ? [] : [`${indent}  ${safeLine(command)}`])])]
}

function placeText({ kind, address }: WhyPlace): string {
  return pathText(`${kind} ${address}`)
}

function indent(text: string): string {
  return text.split('\n').map((line) => `  ${line}`).join('\n')
}
