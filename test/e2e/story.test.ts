import { readFileSync, statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { BackgroundDaemon, isAlive } from './support/background.ts'
import { Program, finish, postern, posternJson, posternLines, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const PEER_ID = /[a-z2-7]{52}/

describe('the story of the README', () => {
  it('is told in text: up, id, status, invite, join, peers, ping, listen, send, down', async () => {
    using temporary = new TemporaryDirectory()
    const [here, there] = [temporary.join('here'), temporary.join('there')]
    const up = await postern(here, 'up')
    expect(up).toMatch(/^posternd is running in the background\.$/m)
    expect(up).toMatch(/postern invite/)
    const id = (await postern(here, 'id')).trim()
    expect(id).toMatch(new RegExp(`^${PEER_ID.source}$`))
    expect(up).toContain(id)
    const [, log = ''] = /^ {2}log\s+(\S+)$/m.exec(up) ?? []
    const pid = Number(/\bready\b.*\bpid=(\d+)/.exec(readFileSync(log, 'utf8'))?.[1])
    // What ends it, should the test fail before `down`.
    await using _first = new BackgroundDaemon(here, { pid, log, peerId: id, udpPort: 0, socket: '' })
    await using second = await BackgroundDaemon.start(there)

    const status = await postern(here, 'status')
    expect(status).toContain(id)
    expect(status).toMatch(/^sessions\s+0$/m)
    expect(await postern(here, 'peers')).toMatch(/no peers yet/)

    const invite = await postern(here, 'invite', '--name', 'friend')
    const link = /^postern:\S+$/m.exec(invite)![0]
    expect(await postern(here, 'invite', '--list')).toMatch(/friend.*0 of 1/)
    expect(await postern(there, 'join', link)).toMatch(new RegExp(`Connected to ${id}`))
    expect(await postern(here, 'invite', '--list')).not.toMatch(/0 of 1/)

    expect(await postern(here, 'peers')).toMatch(new RegExp(`${second.up.peerId}\\s+friend\\s+connected\\s+.*udp `))
    expect(await postern(there, 'peers')).toMatch(new RegExp(`${id}\\s+-\\s+connected`))
    expect(await postern(here, 'status')).toMatch(/^sessions\s+1 \(1 direct\)$/m)
    expect(await postern(there, 'ping', id.slice(0, 8), '--count', '3', '--interval', '0.05')).toMatch(/^3 sent, 3 answered, 0 % lost, [\d.]+ s\nround trip min\/avg\/max\/jitter = [\d.]+\/[\d.]+\/[\d.]+\/[\d.]+ ms$/m)
    expect(await postern(here, 'ping', 'friend', '--count', '1')).toMatch(/^1 sent, 1 answered/m)

    await using listening = Program.start('postern', ['--dir', here, 'listen', '--count', '2'])
    await listening.says(/listening/)
    expect(await postern(there, 'send', id, 'good evening')).toMatch(/^Sent 12 bytes/)
    expect(await postern(there, 'send', id, 'ünd gute Nacht ☾')).toMatch(/^Sent /)
    const heard = await finish(listening)
    expect(heard.status).toBe(0)
    expect(heard.out.split('\n')).toEqual([`${second.up.peerId.slice(0, 8)}: good evening`, `${second.up.peerId.slice(0, 8)}: ünd gute Nacht ☾`, ''])

    expect(await postern(here, 'down')).toMatch(/has stopped/)
    expect(isAlive(pid)).toBe(false)
    const gone = await run('postern', ['--dir', here, 'status'])
    expect(gone.status).toBe(69)
    expect(gone.err).toMatch(/^postern: No daemon answers at .* \[not_running\]\n {2}Start one with `postern up`\.\n$/)
    // The peer is told, and goes on without it.
    expect(await postern(there, 'peers')).toMatch(new RegExp(`${id}\\s+-\\s+(offline|dialing|unreachable)`))
  }, 120_000)

  it('is told in JSON: one object a line, the same facts', async () => {
    using temporary = new TemporaryDirectory()
    const [here, there] = [temporary.join('here'), temporary.join('there')]
    await using first = await BackgroundDaemon.start(here)
    await using second = await BackgroundDaemon.start(there)
    expect(first.up.peerId).toMatch(PEER_ID)
    expect(first.up.udpPort).toBeGreaterThan(0)
    expect(statSync(first.up.socket).mode & 0o777).toBe(0o600)
    expect(isAlive(first.up.pid)).toBe(true)
    expect(await posternJson(here, 'id')).toEqual({ peerId: first.up.peerId })

    const { link, id } = await posternJson(here, 'invite', '--uses', '2', '--expires', '30min')
    expect((await posternJson(here, 'invite', '--list'))['invites']).toMatchObject([{ id, uses: 2, spentBy: [] }])
    expect(await posternJson(there, 'join', String(link))).toEqual({ peer: first.up.peerId, connected: true })
    expect((await posternJson(here, 'invite', '--list'))['invites']).toMatchObject([{ id, uses: 2, spentBy: [second.up.peerId] }])
    expect(await posternJson(here, 'invite', '--revoke', String(id))).toEqual({ revoked: id })
    expect(await posternJson(here, 'invite', '--list')).toEqual({ invites: [] })

    expect((await posternJson(there, 'peers'))['peers']).toMatchObject([{ id: first.up.peerId, state: 'connected', path: expect.stringMatching(/^udp /) as string }])
    const ping = await posternLines(there, 'ping', first.up.peerId, '-c', '2', '-i', '0.05')
    expect(ping).toMatchObject([
      { kind: 'pong', peer: first.up.peerId, sequence: 1, path: expect.stringMatching(/^udp /) as string },
      { kind: 'pong', peer: first.up.peerId, sequence: 2 },
      { kind: 'summary', peer: first.up.peerId, sent: 2, answered: 2, loss: 0 },
    ])

    await using listening = Program.start('postern', ['--dir', here, '--json', 'listen', '--app', 'chat/test', '--count', '1'])
    expect(await sendWhenHeard(there, first.up.peerId, 'hello', '--app', 'chat/test')).toEqual({ peer: first.up.peerId, app: 'chat/test', bytes: 5, mode: 'reliable-ordered', outcome: 'delivered' })
    const heard = await finish(listening)
    expect(readResult('listen', heard.out)).toEqual({ peer: second.up.peerId, app: 'chat/test', text: 'hello' })
    expect(heard.err).toBe('')

    const status = await posternJson(here, 'status')
    expect(status).toMatchObject({ peerId: first.up.peerId, sessions: 1, paths: { direct: 1 } })
    const counters = status['counters'] as Readonly<Record<string, number>>
    for (const name of ['messages_received', 'drop_mac1', 'drop_replay', 'ipc_end_protocol', 'udp_kernel_drops']) expect(counters[name], name).toBeTypeOf('number')
    expect(counters['messages_received']).toBe(1)

    expect(await posternJson(here, 'down')).toEqual({ stopped: true })
    const gone = await run('postern', ['--dir', here, '--json', 'id'])
    expect(gone.status).toBe(69)
    expect(readResult('error', gone.out)).toMatchObject({ error: { code: 'not_running', hint: expect.stringContaining('postern up') as string } })
    expect(gone.err).toBe('')
  }, 120_000)

  it('keeps identity, port and peers over down and up, and the peers find one another again', async () => {
    using temporary = new TemporaryDirectory()
    const [here, there] = [temporary.join('here'), temporary.join('there')]
    await using first = await BackgroundDaemon.start(here)
    await using second = await BackgroundDaemon.start(there)
    const { link } = await posternJson(here, 'invite')
    await posternJson(there, 'join', String(link))
    await postern(here, 'down')
    await using again = await BackgroundDaemon.start(here)
    expect(again.up).toMatchObject({ peerId: first.up.peerId, udpPort: first.up.udpPort, socket: first.up.socket })
    expect((await posternLines(here, 'ping', second.up.peerId, '-c', '1')).at(-1)).toMatchObject({ answered: 1 })
    expect((await posternJson(there, 'peers'))['peers']).toMatchObject([{ id: first.up.peerId, state: 'connected' }])
  })
})

describe('a careless user', () => {
  it('is told what was wrong with a command, its code and what to do', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await using daemon = await BackgroundDaemon.start(dir)
    const { link } = await posternJson(dir, 'invite')
    const cases: readonly [readonly string[], number, RegExp][] = [
      [['join', 'nonsense'], 64, /not an invite link.* \[params\]/],
      [['join', String(link).slice(0, -3)], 64, /not an invite link.* \[params\]/],
      [['join', String(link)], 64, /made by this very node.* \[params\]/],
      [['ping', 'nobody'], 1, /No peer is called nobody.* \[unknown_peer\]/],
      [['ping', `${daemon.up.peerId.slice(0, -1)}b`], 64, /not a peer id.* \[bad_peer_id\]/],
      [['send', 'nobody', 'x'], 1, /No peer is called nobody.* \[unknown_peer\]/],
      [['invite', '--uses', '0'], 64, /whole number above 0.* \[params\]/],
      [['invite', '--expires', 'soon'], 64, /not a duration.* \[params\]/],
      [['invite', '--revoke', 'zzz'], 64, /no invite zzz.* \[params\]/],
      [['ping', daemon.up.peerId], 64, /not the id of another node.* \[bad_peer_id\]/],
    ]
    for (const [args, status, sentence] of cases) {
      const failed = await run('postern', ['--dir', dir, ...args])
      expect(failed.err, args.join(' ')).toMatch(sentence)
      expect(failed.err.split('\n')[0], args.join(' ')).toMatch(/^postern: [A-Z"a-z0-9].*\. \[[a-z_]+\]$/)
      expect(failed.status, args.join(' ')).toBe(status)
    }
  })

  it('may start twice: the second `up` says who runs, and the first goes on', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await using daemon = await BackgroundDaemon.start(dir)
    const second = await run('postern', ['--dir', dir, 'up'])
    expect(second.status).toBe(75)
    expect(second.err).toMatch(new RegExp(`${daemon.up.pid}.*\\[already_running\\]`))
    expect(await posternJson(dir, 'id')).toEqual({ peerId: daemon.up.peerId })
  })
})

/** With `--json` nothing says that somebody listens; until then the answer is `no_app`. */
async function sendWhenHeard(dir: string, ...args: readonly string[]): Promise<unknown> {
  for (let attempt = 0; ; attempt++) {
    const { status, out } = await run('postern', ['--dir', dir, '--json', 'send', ...args])
    const answer = JSON.parse(out) as { readonly error?: { readonly code: string } }
    if (status === 0 || answer.error?.code !== 'no_app' || attempt === 50) return answer
  }
}
