/** `postern why` for people: the document as text. Pure, so that tests can hold it to fixed ones. */
import type { PeerWhyResult, WhyAttempt, WhyEvent, WhyPathInfo, WhyPlace } from '../client/client.ts'
import { policyText } from './policy-text.ts'
import { ago, cut, millisecondsText, percentText, safeLine, table } from './text.ts'

const results: Readonly<Record<string, string>> = {
  waiting: 'no answer yet', answered: 'the peer answered', opened: 'a connection, no answer on it yet', called_off: 'called off: another way was found', no_answer: 'no answer',
  refused: 'refused: nobody listens there', unreachable: 'unreachable: no way to go', forbidden: 'forbidden by this machine', not_postern: 'no Postern daemon', no_resources: 'out of sockets or memory',
  failed: 'failed', policy: 'not tried: the policy forbids it',
}

const states: Readonly<Record<string, string>> = {
  proven: 'works', asked: 'asked', silent: 'silent', refused: 'refused by the system', quarantined: 'rests: loses data', policy: 'forbidden by the policy',
}

/** Lines of it that are wider than `columns` are cut. */
export function whyText(why: PeerWhyResult, columns: number): string {
  const who = safeLine(why.name ?? why.id.slice(0, 8))
  const parts = [headline(why, who), policyText('Policy', why.policy)]
  if (why.paths.length > 0) parts.push('', 'Paths', indent(pathTable(why.paths, why.at)))
  if (why.attempts.length > 0) parts.push('', `What was tried (the last ${why.bounds.attempts} addresses)`, indent(attemptTable(why.attempts, why.at)))
  if (why.probes.length > 0 && why.path?.kind !== 'udp') parts.push('', 'UDP is asked at', indent(probeTable(why)))
  if (why.history.length > 0) parts.push('', `What happened (the last ${why.bounds.history})`, indent(historyTable(why.history, why.at)))
  const told = parts.flatMap((part) => part.split('\n')).map((line) => cut(safeLine(line), columns))
  return [...told, ...advice(why)].join('\n')
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

function attemptTable(attempts: readonly WhyAttempt[], at: number): string {
  return table(attempts.map((attempt) => [
    placeText(attempt), results[attempt.result] ?? attempt.result, attempt.count === 0 ? '' : attempt.count === 1 ? 'once' : `${attempt.count} times`, attempt.lastAt === undefined ? '' : `${ago(at - attempt.lastAt)} ago`,
  ]))
}

function probeTable({ probes }: PeerWhyResult): string {
  return table(probes.map((probe) => [probe.address, probeText(probe)]))
}

function probeText({ unanswered, refused, restMs }: PeerWhyResult['probes'][number]): string {
  if (restMs !== undefined) return `rests for ${ago(restMs)}: it answered probes, but lost data`
  if (refused !== undefined) return results[refused] ?? refused
  return unanswered === 0 ? 'answered' : `${unanswered} questions without an answer`
}

function historyTable(history: readonly WhyEvent[], at: number): string {
  return table(history.map((event) => [`${ago(at - event.at)} ago`, `${event.text}${event.count === undefined ? '' : ` (${event.count} times)`}`]))
}

function advice({ advice: all }: PeerWhyResult): string[] {
  if (all.length === 0) return []
  return ['', ...all.flatMap(({ text, command }) => (command === undefined ? [safeLine(text)] : [safeLine(text), `  ${safeLine(command)}`]))]
}

function placeText({ kind, address }: WhyPlace): string {
  return `${kind} ${address}`
}

function indent(text: string): string {
  return text.split('\n').map((line) => `  ${line}`).join('\n')
}
