import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { Program, finish, postern, posternJson, posternLines, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const temporary = new TemporaryDirectory()
const [here, there] = [temporary.join('here'), temporary.join('there')]
let near: TestDaemon
let far: TestDaemon

beforeAll(async () => {
  near = await TestDaemon.start(here)
  far = await TestDaemon.start(there)
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

describe('postern peers', () => {
  it('adds two nodes to one another by id and address, and then they talk', async () => {
    const added = await posternJson(here, 'peers', 'add', far.peerId.toUpperCase(), '--name', 'bob', '--address', `127.0.0.1:${far.udpPort}`)
    expect(added).toEqual({ added: far.peerId, name: 'bob' })
    expect(await postern(there, 'peers', 'add', near.peerId)).toMatch(new RegExp(`^${near.peerId} is in the roster\\.\\nThere, add this node too: postern peers add ${far.peerId}\\n`))
    const lines = await posternLines(here, 'ping', 'bob', '-c', '2', '-i', '20ms')
    expect(lines.map(({ kind }) => kind)).toEqual(['pong', 'pong', 'summary'])
  })

  it('renames one, which every command then takes, also by the beginning of its id', async () => {
    expect(await posternJson(here, 'peers', 'rename', far.peerId.slice(0, 6), 'Räuber Bob')).toEqual({ renamed: far.peerId, name: 'Räuber Bob' })
    expect(await postern(here, 'peers')).toMatch(new RegExp(`${far.peerId}\\s+Räuber Bob\\s+connected`))
    const typo = await run('postern', ['--dir', here, 'ping', 'räuber bop'])
    expect(typo.err).toBe('postern: No peer is called räuber bop; did you mean Räuber Bob? [unknown_peer]\n  Names and ids: postern peers\n')
    expect(typo.status).toBe(1)
  })

  it('keeps names apart', async () => {
    const stranger = `${near.peerId.slice(0, 51)}${near.peerId.endsWith('a') ? 'q' : 'a'}`
    const taken = await run('postern', ['--dir', here, 'peers', 'add', stranger, '--name', 'Räuber Bob'])
    expect(taken.err).toMatch(/is called Räuber Bob already\. \[params\]/)
    expect(taken.status).toBe(64)
  })

  it('removes one: its session ends, and it is known no more', async () => {
    expect(await posternJson(here, 'peers', 'remove', 'Räuber Bob')).toEqual({ removed: far.peerId })
    await until(async () => (await posternJson(here, 'peers'))['peers'] instanceof Array && ((await posternJson(here, 'peers'))['peers'] as unknown[]).length === 0, 'the peer is gone')
    const again = await run('postern', ['--dir', here, '--json', 'peers', 'remove', far.peerId])
    expect(readResult('error', again.out)).toMatchObject({ error: { code: 'unknown_peer' } })
    expect(again.status).toBe(1)
  })
})

describe('postern ping', () => {
  beforeAll(async () => {
    await pair(near, far)
  })

  it('goes on until Ctrl-C, and then sums up', async () => {
    await using pinging = Program.start('postern', ['--dir', here, 'ping', far.peerId.slice(0, 8), '-c', '0', '-i', '30ms'])
    await pinging.says(/(?:udp .* ms\n.*){3}/)
    const { status, out, err } = await pinging.stop('SIGINT')
    expect(out).toMatch(/\n--- \w{8} ---\n(\d+) sent, \1 answered, 0 % lost, [\d.]+ s\nround trip min\/avg\/max\/jitter = [\d./]+ ms\n$/)
    expect([status, err]).toEqual([0, ''])
  })

  it('ends by its deadline', async () => {
    const lines = await posternLines(here, 'ping', far.peerId, '-c', '0', '-i', '100ms', '-w', '1')
    const summary = lines.at(-1)!
    expect(summary).toMatchObject({ kind: 'summary', loss: 0 })
    expect(Number(summary['answered'])).toBeGreaterThan(0)
    expect(lines).toHaveLength(Number(summary['answered']) + 1)
  })

  it('says so when nobody can be reached, without a summary of nothing', async () => {
    const stranger = await run('postern', ['--dir', there, '--json', 'ping', `${near.peerId.slice(0, 50)}${near.peerId[50] === 'a' ? 'b' : 'a'}a`])
    const lines = stranger.out.trimEnd().split('\n')
    expect(lines).toHaveLength(1)
    expect(['bad_peer_id', 'unreachable']).toContain(readResult('error', lines[0]!).error.code)
    expect([64, 69]).toContain(stranger.status)
  })
})

describe('postern listen', () => {
  it('shows what would command a terminal, and gives it as it is with --json', async () => {
    const evil = 'a\u001b[2Jb\nforged: line'
    await using listening = Program.start('postern', ['--dir', here, 'listen', '--count', '1'])
    await listening.says(/listening/)
    await postern(there, 'send', near.peerId, evil)
    expect((await finish(listening)).out).toBe(`${far.peerId.slice(0, 8)}: a\\u001b[2Jb\n  forged: line\n`)
    await using machine = Program.start('postern', ['--dir', here, '--json', 'listen', '--app', 'evil', '--count', '1'])
    await until(async () => (await run('postern', ['--dir', there, 'send', near.peerId, evil, '--app', 'evil'])).status === 0)
    expect(readResult('listen', (await finish(machine)).out)).toEqual({ peer: far.peerId, app: 'evil', text: evil })
  })
})

describe('a mistake in the command line', () => {
  it.each<[string[], RegExp]>([
    [['stauts'], /^There is no command "stauts"; did you mean status\?$/],
    [['peers', 'remvoe', 'x'], /^There is no command "peers remvoe"; did you mean remove\?$/],
    [['ping'], /^Missing required argument "peer"\.$/],
    [['status', '--jsno'], /^Unknown option "--jsno"; did you mean --json\?$/],
    [['listen', '-c', 'abc'], /^"abc" is not a whole number above 0 for --count\.$/],
    [['listen', '-c', '0'], /^"0" is not a whole number above 0 for --count\.$/],
    [['listen', '--app', 'Bad App'], /^"Bad App" is not an app name/],
    [['ping', 'x', '-i', 'abc'], /^"abc" is not a pause for --interval/],
    [['ping', 'x', '-i', '0'], /^"0" is not a pause for --interval/],
    [['ping', 'x', '-w', 'soon'], /^"soon" is not a duration for --deadline\.$/],
    [['invite', '--uses', '1e3'], /^"1e3" is not a whole number above 0 for --uses\.$/],
    [['peers', 'add', 'abc'], /^abc is not a peer id/],
    [['peers', 'rename', 'x', ''], /is not a name/],
  ])('%j is refused before anything happens, in text and in JSON', async (args, sentence) => {
    const nowhere = temporary.join('nowhere')
    const text = await run('postern', ['--dir', nowhere, ...args])
    const [, message = '', code = ''] = /^postern: (.*) \[(\w+)\]\n {2}\S.*\n$/.exec(text.err) ?? []
    expect(message, text.err).toMatch(sentence)
    expect(text).toMatchObject({ status: 64, out: '' })
    const json = await run('postern', ['--dir', nowhere, '--json', ...args])
    expect(readResult('error', json.out).error).toMatchObject({ code, message, hint: expect.any(String) as string })
    expect(json).toMatchObject({ status: 64, err: '' })
  })

  it('is one of posternd as well', async () => {
    const outcome = await run('posternd', ['--prot', '7000'])
    expect(outcome.err).toBe('posternd: Unknown option "--prot"; did you mean --port? [params]\n  How it is used: posternd --help\n')
    expect(outcome.status).toBe(64)
  })

  it('is none where help is asked for', async () => {
    for (const args of [['--help'], ['help', 'ping'], ['peers', 'add', '--help'], ['--version']]) expect(await run('postern', args), args.join(' ')).toMatchObject({ status: 0, err: '' })
    const bare = await run('postern', [])
    expect(bare.status).toBe(64)
    expect(bare.err).toMatch(/^Usage: postern[^]*\npostern: No command was given\. \[params\]/)
  })
})
