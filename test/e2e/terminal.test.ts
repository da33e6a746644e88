import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon, pair } from './support/daemon.ts'
import { Program, postern, posternJson, posternLines, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'
import { hasTerminals, onTerminal } from './support/terminal.ts'

const temporary = new TemporaryDirectory()
const [here, there] = [temporary.join('here'), temporary.join('there')]
let near: TestDaemon
let far: TestDaemon

beforeAll(async () => {
  near = await TestDaemon.start(here)
  far = await TestDaemon.start(there)
  await pair(near, far)
  await postern(here, 'peers', 'rename', far.peerId, 'anna')
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

const ALTERNATE = '\u001b[?1049h'
const LEFT = '\u001b[?7h\u001b[?25h\u001b[?1049l'
const HALF_BLOCKS = /[▀▄█]{8}/
/** The summary of ping, on the lines of a terminal. */
const SUMMARY = /--- anna ---\r\n(\d+) sent, \1 answered, 0 % lost, [\d.]+ s\r\nround trip min\/avg\/max\/jitter = [\d./]+ ms\r\n$/

describe('into a pipe', () => {
  it('watch prints one snapshot below the other until Ctrl-C, and one with --once', async () => {
    const once = await posternJson(here, 'watch', '--once')
    expect(once).toMatchObject({ peerId: near.peerId, peers: [{ id: far.peerId, name: 'anna', state: 'connected', path: expect.stringMatching(/^udp /) as string, channels: 0 }] })
    expect(once).not.toHaveProperty('rates')
    expect(await postern(here, 'watch', '--once')).toMatch(/^postern .* 1 peer, 1 connected\nrates from the next look on\n\nPEER +ID .*\nanna +\w{8} +connected .* udp 127\.0\.0\.1:\d+ .*\n$/)
    await using watching = Program.start('postern', ['--dir', here, '--json', 'watch', '-i', '50ms'])
    await watching.says(/(?:\{.*\}\n){3}/)
    const { status, out, err } = await watching.stop('SIGINT')
    expect([status, err]).toEqual([0, ''])
    const snapshots = out.trimEnd().split('\n').map((line) => readResult('watch', line))
    expect(snapshots.length).toBeGreaterThan(2)
    expect(snapshots.slice(1).every(({ rates }) => rates !== undefined)).toBe(true)
  })

  it('nothing is drawn: no escape sequence in watch and ping, no QR code unless it is asked for', async () => {
    for (const args of [['watch', '--once'], ['ping', 'anna', '-c', '2', '-i', '20ms'], ['invite'], ['peers']]) {
      const out = await postern(here, ...args)
      expect(out, args.join(' ')).not.toContain('\u001b')
      expect(out, args.join(' ')).not.toMatch(HALF_BLOCKS)
    }
    const asked = await postern(here, 'invite', '--qr')
    expect(asked).toMatch(HALF_BLOCKS)
    expect(asked).not.toContain('\u001b')
    expect(Object.keys(await posternJson(here, 'invite')).sort()).toEqual(['id', 'link'])
    const both = await run('postern', ['--dir', here, '--json', 'invite', '--qr'])
    expect(readResult('error', both.out).error.code).toBe('params')
    expect((await posternLines(here, 'ping', 'anna', '-c', '1')).at(-1)).toMatchObject({ answered: 1 })
  })
})

describe.skipIf(!hasTerminals)('on a terminal (needs python3)', () => {
  it('invite prints its QR code, black on white; without colours if they are not wanted; none if it is not wanted or does not fit', async () => {
    const { screen, status } = await onTerminal(['--dir', here, 'invite'])
    expect(status).toBe(0)
    expect(screen).toMatch(/^postern:1\/[\w-]+\r\n/)
    expect(screen.match(/\u001b\[38;5;16;48;5;231m/g)?.length).toBeGreaterThan(20)
    const plain = await onTerminal(['--dir', here, 'invite'], { env: { NO_COLOR: '1' } })
    expect(plain.screen).toMatch(HALF_BLOCKS)
    expect(plain.screen).not.toContain('\u001b')
    expect((await onTerminal(['--dir', here, 'invite', '--no-qr'])).screen).not.toMatch(/[▀▄█]/)
    const narrow = (await onTerminal(['--dir', here, 'invite'], { columns: 40 })).screen
    expect(narrow).toMatch(/too narrow for its QR code, which takes \d+ columns/)
    expect(narrow).not.toMatch(/[▀▄█]/)
    expect((await onTerminal(['--dir', here, '--json', 'invite'])).screen).toMatch(/^\{.*\}\r\n$/)
  })

  it('watch draws in place, follows the size, and leaves the terminal as it was: by q, Ctrl-C and SIGTERM', async () => {
    const resized = await onTerminal(['--dir', here, 'watch', '-i', '50ms'], {
      steps: [['anna', { resize: [30, 12] }], ['\u001b[Hpostern 0.1.0', {}], ['PEER  STATE    ', { keys: 'x' }], ['anna', { keys: 'q' }]],
    })
    expect(resized).toMatchObject({ status: 0, usual: true, stepsLeft: 0 })
    expect(resized.screen.startsWith(ALTERNATE)).toBe(true)
    expect(resized.screen).toMatch(/anna.*\u001b\[32mconnected\u001b\[0m/)
    expect(resized.screen.endsWith(LEFT)).toBe(true)
    for (const action of [{ keys: '\u0003' }, { signal: 15 }]) {
      const ended = await onTerminal(['--dir', here, 'watch', '-i', '5s'], { steps: [['anna', action]] })
      expect(ended, JSON.stringify(action)).toMatchObject({ status: 0, usual: true, stepsLeft: 0 })
      expect(ended.screen.endsWith(LEFT)).toBe(true)
    }
  })

  it('watch leaves the terminal as it was also when the daemon goes away', async () => {
    await using short = await TestDaemon.start(temporary.join('short'))
    const watching = onTerminal(['--dir', short.dir, 'watch', '-i', '20ms'])
    await postern(short.dir, 'id')
    await short.stop()
    const { screen, status, usual } = await watching
    expect([status, usual]).toEqual([69, true])
    expect(screen).toMatch(/\[(disconnected|shutting_down|not_running)\]/)
    const drawn = screen.includes(ALTERNATE)
    expect(screen.includes(LEFT)).toBe(drawn)
  })

  it('ping writes over one line, and sums up at the end and on Ctrl-C', async () => {
    const whole = await onTerminal(['--dir', here, 'ping', 'anna', '-c', '3', '-i', '20ms'], { columns: 60 })
    expect(whole.status).toBe(0)
    expect(whole.screen).toMatch(/\r\u001b\[2Kanna by udp 127\.0\.0\.1:\d+\r\n/)
    expect(whole.screen).toMatch(/\r\u001b\[2Kanna {2}udp 127\.0\.0\.1:\d+ {2}last [\d.]+ {2}min/)
    expect(whole.screen).toMatch(SUMMARY)
    const lines = whole.screen.split(/\r\u001b\[2K|\r\n/)
    expect(Math.max(...lines.slice(0, -4).map((line) => line.length))).toBeLessThan(60)
    const cut = await onTerminal(['--dir', here, 'ping', 'anna', '-c', '0', '-i', '20ms'], { columns: 200, steps: [['jitter', { keys: '\u0003' }]] })
    expect(cut).toMatchObject({ status: 0, usual: true, stepsLeft: 0 })
    expect(cut.screen).toMatch(SUMMARY)
  })
})
