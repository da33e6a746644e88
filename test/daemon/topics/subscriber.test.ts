import { idleLanes } from '../../ipc/support.ts'
import { describe, expect, it } from 'vitest'
import type { ChannelHandle } from '../../../src/core/endpoint/contract.ts'
import type { StatusResult } from '../../../src/core/wire/ipc/ipc-methods.ts'
import type { ChannelEvent, LogEvent, TopicEvent } from '../../../src/core/wire/ipc/ipc-topics.ts'
import { Subscriber, type SubscriberSource } from '../../../src/daemon/topics/subscriber.ts'

const status: StatusResult = { peerId: 'p', version: '0', uptimeMs: 1, sessions: 0, paths: { direct: 0, tcp: 0, relay: 0, turn: 0, ble: 0 }, addresses: [], counters: {}, lanes: idleLanes }

function world(ids: readonly string[]): SubscriberSource {
  return {
    peers: () => ids,
    peer: (id, change) => ({ id, handle: 1, state: 'connected', since: 0, ...(change?.reason === undefined ? {} : { reason: change.reason }) }),
    path: (id, change) => (change === undefined && id === 'b' ? undefined : { id, handle: 1, to: 'udp', ...(change === undefined ? {} : { rule: change.rule }), ...(change?.from === undefined ? {} : { from: change.from }) }),
    bleThings: () => ['adapter', 'device x'],
    bleThing: (key) => key === 'adapter' ? { name: 'event.ble.adapter', params: { state: 'on', reason: '', mode: 'active' } } : { name: 'event.ble.device', params: { address: key.slice(7), inRange: false } },
    channels: () => [], channel: (_handle, change) => change, status: () => status,
  }
}

const line = (message: string): LogEvent => ({ time: '', level: 'info', message, fields: {} })

function drain(subscriber: Subscriber): TopicEvent[] {
  const events: TopicEvent[] = []
  for (let event = subscriber.next(); event !== undefined; event = subscriber.next()) events.push(event)
  return events
}

describe('a subscriber', () => {
  it('hears of the topics it asked for, and of nothing else', () => {
    const subscriber = new Subscriber(world(['a']))
    subscriber.add('peer')
    subscriber.line(line('x'))
    subscriber.pathChanged('a', { from: undefined, rule: 'tier' })
    expect(drain(subscriber).map(({ name }) => name)).toEqual(['event.peer', 'event.synced'])
    subscriber.peerChanged('a', 'idle')
    subscriber.remove('peer')
    expect(drain(subscriber)).toEqual([])
  })

  it('of Bluetooth hears how everything is, then of each thing once, however often it changed', () => {
    const subscriber = new Subscriber(world([]))
    subscriber.bleChanged('device before')
    subscriber.add('ble')
    expect(drain(subscriber).map(({ name }) => name)).toEqual(['event.ble.adapter', 'event.ble.device', 'event.synced'])
    for (let i = 0; i < 3; i++) subscriber.bleChanged('device y')
    expect(drain(subscriber)).toEqual([{ name: 'event.lost', params: { topic: 'ble', count: 2 } }, { name: 'event.ble.device', params: { address: 'y', inRange: false } }])
  })

  it('of two moves in a row hears one, from where it last knew the peer to be', () => {
    const subscriber = new Subscriber(world(['a', 'b']))
    subscriber.add('path')
    expect(drain(subscriber)).toEqual([{ name: 'event.path', params: { id: 'a', handle: 1, to: 'udp' } }, { name: 'event.synced', params: { topic: 'path' } }])
    subscriber.pathChanged('a', { from: 'udp 1', rule: 'dead' })
    subscriber.pathChanged('a', { from: 'tcp 2', rule: 'tier' })
    expect(drain(subscriber)).toEqual([
      { name: 'event.lost', params: { topic: 'path', count: 1 } }, { name: 'event.path', params: { id: 'a', handle: 1, to: 'udp', from: 'udp 1', rule: 'tier' } },
    ])
  })

  it('hears of the end of a channel although it is gone by then', () => {
    const subscriber = new Subscriber(world([]))
    subscriber.add('channel')
    drain(subscriber)
    const closed: ChannelEvent = { number: 5, peer: 'a', handle: 1, app: 'x', mode: 'unreliable', lane: 'low', openedBy: 'peer', client: '', state: 'closed', code: 'done' }
    subscriber.channelChanged(5 as ChannelHandle, { ...closed, state: 'open' })
    subscriber.channelChanged(5 as ChannelHandle, closed)
    expect(drain(subscriber)).toEqual([{ name: 'event.lost', params: { topic: 'channel', count: 1 } }, { name: 'event.channel', params: closed }])
  })

  it('hears of wishes for an app with their number, the newest of too many', () => {
    const subscriber = new Subscriber(world([]))
    subscriber.add('app')
    const wish = (app: string): void => subscriber.appWanted({ app, peer: 'a', handle: 1, count: 1 })
    wish('dice')
    wish('dice')
    wish('cards')
    expect(drain(subscriber)).toEqual([
      { name: 'event.lost', params: { topic: 'app', count: 1 } },
      { name: 'event.app.wanted', params: { app: 'dice', peer: 'a', handle: 1, count: 2 } }, { name: 'event.app.wanted', params: { app: 'cards', peer: 'a', handle: 1, count: 1 } },
    ])
    for (let i = 0; i < 300; i++) wish(`app${i}`)
    expect(drain(subscriber)).toHaveLength(257)
  })

  it('gets the newest lines of too many, and the other topics are not behind them', () => {
    const subscriber = new Subscriber(world(['a', 'b', 'c']))
    subscriber.add('log')
    subscriber.add('peer')
    for (let i = 0; i < 1000; i++) subscriber.line(line(`${i}`))
    const events = drain(subscriber)
    expect(events[0]).toEqual({ name: 'event.lost', params: { topic: 'log', count: 744 } })
    expect(events.slice(0, 8).filter(({ name }) => name === 'event.peer')).toHaveLength(3)
    expect(events.filter(({ name }) => name === 'event.log')).toHaveLength(256)
    expect(events.findLast(({ name }) => name === 'event.log')).toEqual({ name: 'event.log', params: line('999') })
    expect(events.filter(({ name, params }) => name === 'event.synced' && 'topic' in params && params.topic === 'log')).toHaveLength(1)
  })

  it('gets figures once for many ticks', () => {
    const subscriber = new Subscriber(world([]))
    subscriber.add('status')
    expect(drain(subscriber)).toEqual([{ name: 'event.status', params: status }])
    for (let i = 0; i < 3; i++) subscriber.statusTick()
    expect(drain(subscriber)).toEqual([{ name: 'event.lost', params: { topic: 'status', count: 2 } }, { name: 'event.status', params: status }])
  })
})
