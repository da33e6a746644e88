import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { ServiceManager, type Notify } from '../../src/platform/service-manager.ts'
import { addon } from '../support/addon.ts'
import { hasPython, NotifySocket } from '../support/notify-socket.ts'
import { temporaryDirectory } from '../store/helpers.ts'

const hasProgram = spawnSync('systemd-notify', ['--version']).status === 0
if (!hasProgram) console.warn('skipped: no systemd-notify here, so the way without the addon is not tested')

function fail(reason: string): void {
  throw new Error(reason)
}

const ways = [
  ...addon === undefined ? [] : [['the addon', addon.system] as const],
  ...hasProgram ? [['systemd-notify', undefined] as const] : [],
]

describe.skipIf(!hasPython)('what a service manager hears', () => {
  it.each(ways)('by %s: all of it in order, at a path and at an abstract name', async (_way, system) => {
    await using directory = await temporaryDirectory()
    const { PATH } = process.env
    for (const path of [join(directory.path, 'notify'), `@postern-test-${process.pid}-${Math.random()}`]) {
      await using socket = await NotifySocket.open(path)
      const manager = ServiceManager.of({ environment: { PATH, NOTIFY_SOCKET: path }, system, onRefused: fail })!
      manager.ready('Ready\nat last')
      manager.status('Busy')
      manager.stopping('Stopping: SIGTERM', 1500)
      await manager.close()
      await socket.hears('STOPPING')
      expect(socket.heard.map(({ text }) => text.trim())).toEqual(['READY=1\nSTATUS=Ready at last', 'STATUS=Busy', 'STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=Stopping: SIGTERM'])
    }
  })

  it.skipIf(addon === undefined)('comes from this very process by the addon, as systemd wants it', async () => {
    await using directory = await temporaryDirectory()
    await using socket = await NotifySocket.open(join(directory.path, 'notify'))
    ServiceManager.of({ environment: { NOTIFY_SOCKET: socket.path }, system: addon!.system, onRefused: fail })!.ready('x')
    expect((await socket.hears('READY=1')).pid).toBe(process.pid)
  })

  it.each(ways)('by %s: nobody there is said once, and is no reason to stop', async (_way, system) => {
    const reasons: string[] = []
    const manager = ServiceManager.of({ environment: { PATH: process.env['PATH'], NOTIFY_SOCKET: '/nowhere/notify' }, system, onRefused: (reason) => reasons.push(reason) })!
    manager.ready('x')
    manager.status('y')
    await manager.close()
    expect(reasons).toHaveLength(1)
  })

  it.skipIf(addon === undefined)('a path that fits no socket is refused as such', async () => {
    const reasons: string[] = []
    const manager = ServiceManager.of({ environment: { NOTIFY_SOCKET: `/${'x'.repeat(200)}` }, system: addon!.system, onRefused: (reason) => reasons.push(reason) })!
    manager.ready('x')
    await manager.close()
    expect(reasons[0]).toContain('ENAMETOOLONG')
  })
})

describe('a service manager', () => {
  it('is there only where the environment says so', () => {
    for (const environment of [{}, { NOTIFY_SOCKET: '' }]) expect(ServiceManager.of({ environment, system: undefined, onRefused: fail })).toBeUndefined()
  })

  it('is asked again while it is busy, and not for ever', async () => {
    const sent: string[] = []
    const reasons: string[] = []
    let busy = 3
    const notify: Notify = (text) => {
      sent.push(text)
      return Promise.resolve(busy-- > 0 ? { reason: 'EAGAIN', busy: true } : undefined)
    }
    const manager = new ServiceManager(notify, (reason) => reasons.push(reason), undefined)
    manager.status('a')
    await manager.close()
    expect([sent, reasons]).toEqual([['STATUS=a', 'STATUS=a', 'STATUS=a', 'STATUS=a'], []])
    busy = Infinity
    sent.length = 0
    manager.status('b')
    manager.status('c')
    await manager.close()
    expect(sent).toEqual([...new Array<string>(20).fill('STATUS=b'), ...new Array<string>(20).fill('STATUS=c')])
    expect(reasons).toEqual(['EAGAIN'])
  })

  it('that is slow keeps at most eight messages waiting', async () => {
    const sent: string[] = []
    let go: () => void = () => undefined
    const gate = new Promise<undefined>((resolve) => {
      go = () => resolve(undefined)
    })
    const manager = new ServiceManager((text) => {
      sent.push(text)
      return gate
    }, fail, undefined)
    for (let i = 0; i < 20; i++) manager.status(`${i}`)
    go()
    await manager.close()
    expect(sent).toEqual(Array.from({ length: 8 }, (_, i) => `STATUS=${i}`))
  })

  it('feeds the watchdog of this process at half its time, one message at a time, until the end', async () => {
    const environments = [{ WATCHDOG_USEC: '40000' }, { WATCHDOG_USEC: '40000', WATCHDOG_PID: String(process.pid) }]
    for (const environment of environments) {
      const sent: string[] = []
      const system = { sendUnix: (_path: Uint8Array, message: Uint8Array) => (sent.push(Buffer.from(message).toString()), 0), peerUid: () => -1, lockFile: () => 0 }
      const manager = ServiceManager.of({ environment: { NOTIFY_SOCKET: '/x', ...environment }, system, onRefused: fail })!
      while (sent.length < 3) await sleep(5)
      await manager.close()
      const count = sent.length
      expect(sent).toEqual(new Array(count).fill('WATCHDOG=1'))
      await sleep(60)
      expect(sent).toHaveLength(count)
    }
  })

  it('feeds no watchdog that is off, another process\'s or nonsense', async () => {
    for (const environment of [{}, { WATCHDOG_USEC: '0' }, { WATCHDOG_USEC: '-1' }, { WATCHDOG_USEC: 'x' }, { WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' }]) {
      const sent: unknown[] = []
      const system = { sendUnix: (_path: Uint8Array, message: Uint8Array) => (sent.push(message), 0), peerUid: () => -1, lockFile: () => 0 }
      const manager = ServiceManager.of({ environment: { NOTIFY_SOCKET: '/x', ...environment }, system, onRefused: fail })!
      await sleep(30)
      await manager.close()
      expect(sent).toEqual([])
    }
  })
})
