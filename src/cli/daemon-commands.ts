import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type StatusResult } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { summaryText } from './ble-text.ts'
import type { Globals, Output } from './output.ts'
import { posterndError, runPosternd } from './posternd.ts'
import type { UpResult } from './results.ts'
import { portMappingText } from './port-mapping-text.ts'
import { withClient } from './session.ts'
import { ago, bytesText, table } from './text.ts'

export interface UpOptions {
  readonly config?: string
  readonly port?: string
  readonly logLevel?: string
  readonly set?: readonly string[]
}

/** Beyond this it has a long `[shutdown] drain`, and nobody waits for that at a prompt. */
const DOWN_TIMEOUT_MS = 20_000
/** From its goodbye to its end. */
const END_TIMEOUT_MS = 5000
const END_POLL_MS = 10

/** Starts posternd in the background. Fails with what posternd says. */
export async function up(globals: Globals, options: UpOptions, output: Output): Promise<void> {
  const args = ['--background']
  if (globals.dir !== undefined) args.push('--dir', globals.dir)
  if (options.config !== undefined) args.push('--config', options.config)
  if (options.port !== undefined) args.push('--port', options.port)
  if (options.logLevel !== undefined) args.push('--log-level', options.logLevel)
  for (const set of options.set ?? []) args.push('--set', set)
  output.progress('starting posternd …')
  const outcome = await runPosternd(args)
  if (outcome.status !== 0) throw posterndError(outcome)
  const ready = JSON.parse(outcome.out) as UpResult
  output.result('up', ready, () => [
    'posternd is running in the background.',
    table([['  peer id', ready.peerId], ['  UDP port', String(ready.udpPort)], ['  socket', ready.socket], ['  log', ready.log]]),
    '',
    'To let somebody in:      postern invite',
    'To join somebody:        postern join <link>',
    'To stop it:              postern down',
  ].join('\n'))
}

/** Asks the daemon to end and waits until it is gone. */
export async function down(globals: Globals, output: Output): Promise<void> {
  let closed: () => void = () => undefined
  const ended = new Promise<true>((resolve) => { closed = () => resolve(true) })
  const client = await connect({
    name: 'postern down', reconnect: false, ...(globals.dir === undefined ? {} : { dir: globals.dir }),
    onState: (state) => { if (state === 'closed') closed() },
  })
  output.progress('stopping posternd …')
  const { pid } = await client.shutdown()
  const patience = new AbortController()
  const gone = await Promise.race([ended, sleep(DOWN_TIMEOUT_MS, false, { signal: patience.signal }).catch(() => false)])
  patience.abort()
  await client.close()
  if (!gone) throw new PosternError('timeout', `posternd is still delivering what is queued after ${DOWN_TIMEOUT_MS / 1000} s.`, { hint: 'It ends by itself within [shutdown] drain. At once, losing what is queued: kill it twice.' })
  if (pid !== undefined) await processEnd(pid)
  output.result('down', { stopped: true }, () => 'posternd has stopped.')
}

/** A daemon that said goodbye still writes its state and lets go of its lock: whoever starts it anew at once must not meet it. */
async function processEnd(pid: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < END_TIMEOUT_MS && isRunning(pid); waitedMs += END_POLL_MS) await sleep(END_POLL_MS)
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export async function status(globals: Globals, output: Output): Promise<void> {
  const state = await withClient(globals, (client) => client.status())
  output.result('status', state, () => {
    const { counters, paths } = state
    const dropped = Object.entries(counters).filter(([name, count]) => name.startsWith('drop_') && count > 0)
    const carried = Object.entries(paths).filter(([, count]) => count > 0).map(([kind, count]) => `${count} ${kind}`)
    return table([
      ['peer id', state.peerId],
      ['version', state.version],
      ['up', ago(state.uptimeMs)],
      ['sessions', `${state.sessions}${carried.length > 0 ? ` (${carried.join(', ')})` : ''}`],
      ['reachable at', state.addresses.length === 0 ? 'nowhere yet' : state.addresses.join(', ')],
      ['seen at', seenText(state.stun)],
      ['router', routerText(state.nat)],
      ['port mapping', portMappingText(state.portMapping)],
      ...(state.ble === undefined ? [] : [['bluetooth', summaryText(state.ble)]]),
      ['messages', `${counters['messages_received'] ?? 0} received, ${counters['messages_sent'] ?? 0} sent`],
      ...laneRows(state.lanes),
      ['datagrams', `${counters['datagrams_received'] ?? 0} in (${bytesText(counters['bytes_received'] ?? 0)}), ${counters['datagrams_sent'] ?? 0} out (${bytesText(counters['bytes_sent'] ?? 0)})`],
      ['lost on the way', String(counters['packets_lost'] ?? 0)],
      ['dropped', dropped.length === 0 ? 'nothing' : dropped.map(([name, count]) => `${name.slice(5)} ${count}`).join(', ')],
      ['native', nativeText(state.native)],
      ['memory', `${bytesText(counters['memory_used'] ?? 0)} of ${bytesText(counters['memory_capacity'] ?? 0)}`],
    ])
  })
}

/** What servers outside see, or why none says. */
function routerText(nat: StatusResult['nat']): string {
  if (nat === undefined || nat.word === 'unknown') return nat?.servers === 'silent' ? 'not known: no STUN server answers' : 'not known; look: postern netcheck'
  return nat.word === 'symmetric' ? 'symmetric: each destination sees another port' : nat.word
}

function seenText(stun: StatusResult['stun']): string {
  if (stun?.enabled !== true) return 'not asked: STUN is switched off'
  const seen = [...stun.reflexive.map(({ address, server }) => `${address} (by ${server})`), ...stun.tcp.reflexive.map(({ address, server }) => `${address} (TCP, by ${server})`)]
  if (seen.length > 0) return seen.join(', ')
  return stun.asking ? 'asking …' : 'nobody answers; look at: postern netcheck'
}

function nativeText(native: StatusResult['native']): string {
  if (native === undefined) return 'no'
  const { crypto, udp, features, reason } = native
  const parts = [`crypto ${crypto === 'addon' ? 'yes' : 'no'}`, `udp ${udp === 'addon' ? 'yes' : 'no'}${features.length > 0 ? ` (${features.join(', ')})` : ''}`]
  return `${parts.join(', ')}${reason === undefined ? '' : `: ${reason}`}`
}

/** A row for each lane that was used. */
function laneRows(lanes: StatusResult['lanes']): [string, string][] {
  return Object.entries(lanes).filter(([, { sent, queued, dropped }]) => sent + queued + Object.keys(dropped).length > 0).map(([name, { sent, queued, dropped }]) => {
    const reasons = Object.entries(dropped).map(([reason, count]) => `${count} ${reason === 'none' ? 'lost' : reason}`).join(', ')
    return [`  ${name}`, `${sent} sent, ${queued} waiting${reasons === '' ? '' : `, dropped: ${reasons}`}`]
  })
}

export async function id(globals: Globals, output: Output): Promise<void> {
  const peerId = await withClient(globals, (client) => Promise.resolve(client.peerId))
  output.result('id', { peerId }, () => peerId)
}
