import { setTimeout as sleep } from 'node:timers/promises'
import { PosternError } from '../core/base/errors.ts'
import type { PeerInfo } from '../client/client.ts'
import { ago, parseCount, parseSeconds, table, type Globals, type Output } from './output.ts'
import { interruption, resolvePeer, withClient } from './session.ts'

export interface InviteOptions {
  readonly uses?: string
  readonly expires?: string
  readonly name?: string
  readonly list?: boolean
  readonly revoke?: string
}

export async function invite(globals: Globals, options: InviteOptions, output: Output): Promise<void> {
  await withClient(globals, async (client) => {
    if (options.revoke !== undefined) {
      await client.invites.revoke(options.revoke)
      output.result({ revoked: options.revoke }, () => `Invite ${options.revoke} is revoked.`)
      return
    }
    if (options.list === true) {
      const invites = await client.invites.list()
      output.result({ invites }, () => (invites.length === 0 ? 'There are no open invites. Make one: postern invite' : table([
        ['INVITE', 'NAME', 'SPENT', 'EXPIRES IN'],
        ...invites.map((open) => [open.id, open.name ?? '-', `${open.spentBy.length} of ${open.uses}`, ago(open.expires - Date.now())]),
      ])))
      return
    }
    const expiresS = parseSeconds(options.expires ?? '24h')
    const created = await client.invites.create({ uses: parseCount(options.uses ?? '1'), expiresS, ...(options.name === undefined ? {} : { name: options.name }) })
    output.result(created, () => [
      created.link,
      '',
      `Good for ${options.uses ?? '1'} ${(options.uses ?? '1') === '1' ? 'peer' : 'peers'} and ${ago(expiresS * 1000)}. Send it to them over something private: whoever has the link can use it.`,
      'There: postern join <link>',
    ].join('\n'))
  })
}

export async function join(globals: Globals, link: string, options: { readonly wait?: string }, output: Output): Promise<void> {
  const waitMs = parseSeconds(options.wait ?? '10s') * 1000
  await withClient(globals, async (client) => {
    const peer = await client.invites.join(link)
    output.progress(`joined ${peer}; connecting …`)
    let connected = true
    try {
      await client.connectPeer(peer, { timeoutMs: Math.max(1, waitMs) })
    } catch (error) {
      if (!(error instanceof PosternError) || (error.code !== 'unreachable' && error.code !== 'timeout')) throw error
      connected = false
    }
    output.result({ peer, connected }, () => (connected
      ? `Connected to ${peer}.\nTry: postern ping ${peer.slice(0, 8)}`
      : `${peer} is in the roster, but does not answer yet. The daemon goes on trying.\nLook at: postern peers`))
  })
}

export async function peers(globals: Globals, output: Output): Promise<void> {
  const found = await withClient(globals, (client) => client.peers())
  output.result({ peers: found }, () => (found.length === 0 ? 'There are no peers yet. Let somebody in: postern invite, or join somebody: postern join <link>' : table([
    ['PEER', 'NAME', 'STATE', 'FOR', 'PATH', 'RTT', 'LOSS'],
    ...found.map(row),
  ])))
}

function row(peer: PeerInfo): string[] {
  return [
    peer.id, peer.name ?? '-', peer.state, ago(Date.now() - peer.since), peer.path ?? '-',
    peer.rttMs === undefined ? '-' : `${peer.rttMs.toFixed(1)} ms`, peer.loss === undefined ? '-' : `${(peer.loss * 100).toFixed(1)} %`,
  ]
}

export async function ping(globals: Globals, who: string, options: { readonly count?: string; readonly interval?: string }, output: Output): Promise<void> {
  const count = parseCount(options.count ?? '5')
  const intervalMs = Number(options.interval ?? '1') * 1000
  const signal = interruption()
  await withClient(globals, async (client) => {
    const peer = await resolvePeer(client, who)
    const times: number[] = []
    let sent = 0
    while (sent < count && !signal.aborted) {
      sent++
      try {
        const { rttMs, path } = await client.ping(peer, { signal })
        times.push(...rttMs)
        output.progress(`${peer.slice(0, 8)} by ${path}: ${rttMs.map((ms) => ms.toFixed(2)).join(', ')} ms`)
      } catch (error) {
        if (error instanceof PosternError && error.code === 'aborted') break
        if (!(error instanceof PosternError) || sent === 1) throw error
        output.progress(`${peer.slice(0, 8)}: ${error.message} [${error.code}]`)
      }
      if (sent < count) await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
    }
    const sorted = [...times].sort((a, b) => a - b)
    const min = sorted[0] ?? 0
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0
    const max = sorted.at(-1) ?? 0
    output.result({ peer, sent, answered: times.length, rttMs: times, minMs: min, medianMs: median, maxMs: max }, () =>
      `${sent} sent, ${times.length} answered; round trip min ${min.toFixed(2)} / median ${median.toFixed(2)} / max ${max.toFixed(2)} ms`)
    if (times.length === 0) throw new PosternError('timeout', 'No ping was answered.', { hint: 'Look at: postern peers' })
  })
}
