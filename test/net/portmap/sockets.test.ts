import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { PortMapSockets } from '../../../src/net/portmap/sockets.ts'
import { host } from '../../support/home-router.ts'

const ignore = (): void => undefined

it('sends from our address, and tells what comes back by which socket and from whom', async () => {
  const router = createSocket('udp4')
  router.bind(0, '127.0.0.1')
  await once(router, 'listening')
  router.on('message', (bytes, from) => router.send(bytes, from.port, from.address))
  const told: string[] = []
  const sockets = new PortMapSockets(host('127.0.0.1'), (way, from, bytes) => void told.push(`${way} ${formatAddress(from)} ${bytes.join()}`))
  const to = host('127.0.0.1', router.address().port)
  sockets.send('mapping', to, Uint8Array.of(1, 2))
  sockets.send('search', to, Uint8Array.of(3))
  while (told.length < 2) await sleep(5)
  expect(told.sort()).toEqual([`mapping ${formatAddress(to)} 1,2`, `search ${formatAddress(to)} 3`])
  sockets.close()
  sockets.close()
  router.close()
})

it('an address that the system does not have costs what is sent and nothing else', async () => {
  const sockets = new PortMapSockets(host('198.51.100.1'), ignore)
  for (let i = 0; i < 3; i++) {
    sockets.send('mapping', host('127.0.0.1', 5351), Uint8Array.of(i))
    await sleep(10)
  }
  sockets.close()
})
