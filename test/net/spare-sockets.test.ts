import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { ADDRESS_SIZE, encodeAddress, portOf } from '../../src/core/base/address.ts'
import { Arena } from '../../src/core/base/arena.ts'
import { TransmitBatch, type LinkId, type LinkInfo } from '../../src/core/endpoint/contract.ts'
import type { ConnectionHost } from '../../src/net/driver.ts'
import { SpareSockets } from '../../src/net/spare-sockets.ts'
import { until } from '../e2e/support/daemon.ts'

class Host implements ConnectionHost {
  readonly arena: Arena = new Arena(4 << 20)
  readonly open = new Map<LinkId, LinkInfo & { readonly of: number | undefined }>()
  readonly heard: { readonly link: number; readonly text: string }[] = []
  #link = 1

  opened(info: LinkInfo, token?: number): LinkId {
    const link = this.#link++ as LinkId
    this.open.set(link, { ...info, of: token })
    return link
  }

  changed(link: LinkId, state: string): void {
    if (state === 'closed') this.open.delete(link)
  }

  received(batch: Parameters<ConnectionHost['received']>[0]): void {
    for (let i = 0; i < batch.count; i++) this.heard.push({ link: batch.link[i]!, text: Buffer.from(this.arena.bytes.slice(batch.offset[i], batch.offset[i]! + batch.length[i]!)).toString() })
  }

  refused(): void { /* Not said by these. */ }
  tooLarge(): void { /* Not said by these. */ }
  dialFailed(): void { /* Not said by these. */ }
}

describe('spare sockets', () => {
  const host = new Host()
  let spare: SpareSockets | undefined
  afterEach(async () => {
    await spare?.close()
    spare = undefined
    expect(host.open.size).toBe(0)
    expect(host.arena.used).toBe(0)
    host.heard.length = 0
  })

  it('open as many as are asked for, on ports of their own, and tell whose they are', async () => {
    spare = new SpareSockets(host, '127.0.0.1')
    spare.open(9, 64)
    await until(() => Promise.resolve(host.open.size === 64), 'the sockets')
    const infos = [...host.open.values()]
    expect(new Set(infos.map(({ local }) => portOf(local))).size).toBe(64)
    expect(infos.every(({ spare: isSpare, of, kind }) => isSpare === true && of === 9 && kind === 'udp')).toBe(true)
    expect(spare.stats()).toMatchObject({ spare_sockets_opened: 64, spare_sockets_refused: 0 })
    for (const link of [...host.open.keys()].slice(1)) spare.closeLink(link)
    await until(() => Promise.resolve(host.open.size === 1), 'one socket to be left')
  })

  it('open no more of what was called off, nor after the end', async () => {
    spare = new SpareSockets(host, '127.0.0.1')
    spare.open(9, 256)
    spare.cancel(9)
    await spare.close()
    spare.open(10, 4)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect([host.open.size, spare.size]).toEqual([0, 0])
  })

  it('send their own rows, leave others alone, and bring what comes in', async () => {
    spare = new SpareSockets(host, '127.0.0.1')
    const peer = createSocket('udp4').bind(0, '127.0.0.1')
    await once(peer, 'listening')
    try {
      spare.open(1, 2)
      await until(() => Promise.resolve(host.open.size === 2), 'the sockets')
      const [one, other] = [...host.open.keys()] as [LinkId, LinkId]
      const slab = host.arena.allocate(65_536)
      const batch = new TransmitBatch(4)
      batch.reset(slab, 65_536)
      host.arena.bytes.set(Buffer.from('knock'), slab)
      for (const link of [one, 999 as LinkId, other]) {
        const row = batch.count++
        batch.link[row] = link
        batch.address.set(encodeAddress('127.0.0.1', peer.address().port)!, row * ADDRESS_SIZE)
        batch.offset[row] = slab
        batch.length[row] = batch.segmentSize[row] = 5
      }
      const from: number[] = []
      peer.on('message', (bytes, { port }) => {
        from.push(port)
        peer.send(`${bytes.toString()} back`, port, '127.0.0.1')
      })
      const sending = spare
      const taken = await new Promise<number>((resolve) => {
        const count: number = sending.send(batch, () => resolve(count))
      })
      expect(taken).toBe(2)
      await until(() => Promise.resolve(host.heard.length === 2), 'both answers')
      expect(new Set(from)).toEqual(new Set([...host.open.values()].map(({ local }) => portOf(local))))
      expect(host.heard.map(({ link, text }) => `${link} ${text}`).sort()).toEqual([`${one} knock back`, `${other} knock back`].sort())
      host.arena.release(slab)
    } finally {
      peer.close()
    }
  })

  it('are fewer where the system has none, which is counted', async () => {
    spare = new SpareSockets(host, '192.0.2.77')
    spare.open(1, 8)
    const refusing = spare
    await until(() => Promise.resolve(refusing.stats()['spare_sockets_refused'] === 8), 'the refusal')
    expect(host.open.size).toBe(0)
  })
})
