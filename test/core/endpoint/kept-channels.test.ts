/** Messages that were acknowledged outlive their session, up to a bound; beyond it nobody is told that all went well. */
import { describe, expect, it } from 'vitest'
import type { ChannelHandle, EndpointEvent } from '../../../src/core/endpoint/contract.ts'
import { channelCodes } from '../../../src/core/wire/frame.ts'
import { SECOND, SimWorld, type Player } from '../../support/sim-world.ts'

interface Scene { readonly world: SimWorld; readonly reader: Player; readonly channel: ChannelHandle; readonly ended: () => EndpointEvent | undefined }

/** The writer sent three messages, closed the channel and was told that all is through; then it restarts. The reader has taken one. */
function scene(maxChannelData: number): Scene {
  const world = new SimWorld(7)
  const config = { maxMessage: maxChannelData - 32, maxChannelData }
  const [writer, reader] = [world.player('writer', 1, '10.0.0.1', config), world.player('reader', 2, '10.0.0.2', config)]
  reader.onMessages = (_node, batch) => { for (let i = 0; i < batch.count; i++) reader.received.push(`${batch.length[i]}`) }
  writer.know(reader)
  reader.know(writer)
  reader.onEvent = (node, event) => {
    reader.events.push(event)
    if (event.kind === 'channel-incoming') node.endpoint.acceptChannel(node.now(), event.channel, { credit: 1, consumer: 1, overflow: 'block' })
  }
  writer.connect(reader)
  world.run(1)
  const sending = writer.open(reader)
  for (const text of ['a', 'bb', 'ccc']) writer.send(sending, text)
  writer.node.act((endpoint, now) => { endpoint.closeChannel(now, sending, { abort: false, code: channelCodes.done, reason: '' }) })
  world.run(1)
  const incoming = reader.events.find((event) => event.kind === 'channel-incoming')!
  const end = (player: Player): EndpointEvent | undefined => player.events.find((event) => event.kind === 'channel-closed')
  expect([reader.received, end(reader)]).toEqual([['1'], undefined])
  expect(end(writer)).toMatchObject({ code: channelCodes.done })
  writer.restart()
  writer.connect(reader)
  world.run(5)
  expect(reader.events.some((event) => event.kind === 'peer' && event.reason === 'peer_restarted')).toBe(true)
  return { world, reader, channel: incoming.channel, ended: () => end(reader) }
}

describe('channels whose session is gone', () => {
  it('wait for their readers, hand over the rest, and end as the peer ended them', () => {
    const { world, reader, channel, ended } = scene(65_536)
    expect(ended()).toBeUndefined()
    for (const length of [1, 2]) reader.node.act((endpoint, now) => { endpoint.consume(now, channel, length + 32) })
    world.scheduler.run(SECOND)
    expect(reader.received).toEqual(['1', '2', '3'])
    expect(ended()).toMatchObject({ code: channelCodes.done, by: 'peer' })
  })

  it('end with limit where the arena has no share for one, not with the done of a peer that sent all of it', () => {
    const { reader, ended } = scene(1 << 20)
    expect(reader.received).toEqual(['1'])
    expect(ended()).toMatchObject({ code: channelCodes.limit, by: 'session' })
  })
})
