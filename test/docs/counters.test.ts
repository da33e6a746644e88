import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { counterNames } from '../../src/core/connection/host.ts'
import { DaemonLog } from '../../src/daemon/log/log.ts'
import { introductionCounterNames } from '../../src/daemon/nat/introductions.ts'
import { stunTcpCounterNames } from '../../src/daemon/nat/tcp-reflexive.ts'
import { ipcCounterNames } from '../../src/ipc/counters.ts'
import { newBleCounters } from '../../src/net/ble/ble-counters.ts'
import { newTcpCounters } from '../../src/net/tcp-counters.ts'
import { spareCounterNames } from '../../src/net/spare-sockets.ts'
import { newUdpCounters } from '../../src/net/udp-counters.ts'
import { namesInTables, readText, run, withDaemon } from './support.ts'

const page = readText('docs/counters.md')
const documented = namesInTables(page)
/** What only some systems show. */
const sometimes = ['udp_kernel_drops']

function marked(mark: string): string[] {
  return page.split('\n').filter((line) => line.includes(mark) && line.startsWith('| `')).flatMap(namesInTables)
}

function coreSources(): string {
  const folder = fileURLToPath(new URL('../../src/core', import.meta.url))
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !name.endsWith('connection/host.ts'))
  return files.map((name) => readText(`src/core/${name}`)).join('\n')
}

describe('docs/counters.md', () => {
  let shown: string[] = []

  beforeAll(async () => {
    const status = await withDaemon((dir) => run('cli', ['--dir', dir, '--json', 'status']))
    shown = Object.keys((JSON.parse(status.out) as { readonly counters: Readonly<Record<string, number>> }).counters)
  })

  it('has every counter of the code, once', async () => {
    const log = new DaemonLog({ level: 'error', format: 'text', sink: { write: () => undefined, reopen: () => undefined, flush: () => undefined, close: () => Promise.resolve(), lost: 0 } })
    const inCode = [...counterNames, ...introductionCounterNames, ...stunTcpCounterNames, ...ipcCounterNames, ...spareCounterNames, ...Object.keys(newUdpCounters().snapshot()), ...Object.keys(newTcpCounters().snapshot()), ...Object.keys(newBleCounters().snapshot()), ...Object.keys(log.stats())]
    await log.close()
    expect(inCode.filter((name) => !documented.includes(name))).toEqual([])
    expect(documented.filter((name, i) => documented.indexOf(name) !== i)).toEqual([])
  })

  it('has what a running daemon shows, and nothing else', () => {
    expect(shown.filter((name) => !documented.includes(name))).toEqual([])
    expect(documented.filter((name) => !shown.includes(name) && !sometimes.includes(name))).toEqual(marked('*Not shown yet*'))
  })

  it('marks what the core does not count yet', () => {
    const sources = coreSources()
    // `close_…` is put together from its reason.
    const uncounted = counterNames.filter((name) => !name.startsWith('close_') && !sources.includes(`'${name}'`) && !sources.includes(`counter.${name}`))
    expect(marked('*Not counted yet*').sort()).toEqual(uncounted.sort())
  })
})
