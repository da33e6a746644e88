import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { whyNoBluetooth } from './ble.ts'
import { judge, type DemoObservations, type DemoResult } from './result.ts'

const run = fileURLToPath(new URL('../../config/run.mjs', import.meta.url))
const why = whyNoBluetooth()

describe.skipIf(why !== undefined)(`npm run demo -- --ble${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('plays over Bluetooth without a network, goes over to UDP when there is one, and leaves nothing behind', async () => {
    const temporary = mkdtempSync(join(tmpdir(), 'postern-ble-demo-'))
    try {
      const child = spawn(process.execPath, [run, 'demo', '--ble', '--json', '--seed', '7'], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: temporary } })
      const [out, err, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit') as Promise<[number | null]>])
      const result = JSON.parse(out === '' ? JSON.stringify(err) : out) as DemoResult
      expect(result).toMatchObject({ ok: true, problems: [], rolls: { verified: 60 }, reliable: { lost: 0, doubled: 0, late: 0 }, ble: { datagramsBefore: 0 } })
      expect(result.ble!.paths['ble']!.reliable.count).toBeGreaterThan(0)
      expect(result.ble!.paths['udp']!.reliable.count).toBeGreaterThan(0)
      expect(status).toBe(0)
      expect(readdirSync(temporary)).toEqual([])
      expect(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes(temporary))).toEqual([])
    } finally {
      rmSync(temporary, { recursive: true, force: true })
    }
  }, 120_000)
})

describe('the verdict on a game that began by Bluetooth', () => {
  const rtt = { count: 3, p50Ms: 1, p99Ms: 2 }
  const side = {
    sentMessages: 1, sentUpdates: 1, expectedMessages: 1, expectedUpdates: 1, messages: { distinct: 1, doubled: 0, late: 0 }, updates: { distinct: 1, doubled: 0, late: 0 },
    messageRtt: rtt, updateRtt: rtt, ended: 'done', byPath: { ble: { messages: rtt, updates: rtt }, udp: { messages: rtt, updates: rtt } },
  }
  const seen: DemoObservations = {
    seed: 1, rounds: 1, seconds: 1, rolls: { host: [[1, 2]], guest: [[1, 2]] }, figures: { host: side, guest: side }, network: [], counters: { host: {}, guest: {} }, cut: undefined,
    ble: { pairedMs: 1, healedAtRound: 0, datagramsBefore: 0, toUdpMs: 5 },
  }

  it('is good when both paths were used', () => {
    expect(judge(seen)).toMatchObject({ ok: true, problems: [], ble: { paths: { udp: { reliable: { count: 6, p50Ms: 1, p99Ms: 2 } } } } })
  })

  it.each<[string, Partial<NonNullable<DemoObservations['ble']>>]>([
    ['never came back', { healedAtRound: undefined }],
    ['did not go over to UDP', { toUdpMs: undefined }],
    ['while there was no network', { datagramsBefore: 1 }],
  ])('is not when something %s', (problem, changes) => {
    expect(judge({ ...seen, ble: { ...seen.ble!, ...changes } })).toMatchObject({ ok: false, problems: [expect.stringContaining(problem) as string] })
  })

  it('is not when nothing of the game was by UDP', () => {
    const byBluetooth = { ...side, byPath: { ble: side.byPath.ble } }
    expect(judge({ ...seen, figures: { host: byBluetooth, guest: byBluetooth } }).problems).toEqual(['no round trip of the game was by UDP'])
  })
})
