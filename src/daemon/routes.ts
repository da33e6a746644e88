import { channelSlot } from '../core/base/domain.ts'
import type { ChannelHandle } from '../core/endpoint/contract.ts'
import type { Instant } from '../core/base/time.ts'
import type { ChannelEnd } from '../core/wire/ipc/ipc-methods.ts'
import type { ChannelEvent } from '../core/wire/ipc/ipc-topics.ts'
import type { IpcClient } from '../ipc/handler.ts'

/** A message that found no room in the endpoint's queue: the client had credit for it, so it waits here, in order. */
export interface Parked {
  readonly bytes: Uint8Array
  readonly lane: number
  readonly tag: number
  readonly confirm: boolean
  readonly deadline: Instant
}

/** What can be told of a channel, but for the number that each client has for the peer. */
export type ChannelInfo = Omit<ChannelEvent, 'handle'>

/** What stays the same as long as a channel lives. */
export type RouteDetails = Pick<ChannelEvent, 'peer' | 'app' | 'mode' | 'lane' | 'openedBy'>

/** One channel between a client and the endpoint. */
export class Route {
  readonly channel: ChannelHandle
  readonly owner: RoutedClient
  readonly details: RouteDetails
  /** Both sides agreed to it. */
  open = false
  /** The client's number; 0 until it has one. */
  number = 0
  readonly parked: Parked[] = []
  /** What is to be done once nothing is parked any more. */
  afterParked: (() => void) | undefined
  /** Cost that left the endpoint's queue and was not given back to the client yet. */
  owed = 0
  /** Its queue drops instead of filling up: credit comes back with each message. */
  drops = false

  constructor(channel: ChannelHandle, owner: RoutedClient, details: RouteDetails) {
    this.channel = channel
    this.owner = owner
    this.details = details
  }

  get peer(): string {
    return this.details.peer
  }

  /** `closed` is what ended it. */
  info(closed?: ChannelEnd): ChannelInfo {
    const { channel, owner, details, open } = this
    return { number: channel, ...details, client: owner.client.name, state: closed !== undefined ? 'closed' : open ? 'open' : 'opening', ...closed }
  }
}

/** What the router keeps of a client. */
export class RoutedClient {
  readonly client: IpcClient
  readonly routes: Set<Route> = new Set()
  readonly apps: Set<string> = new Set()
  /** Its socket is full: its channels deliver nothing until it is writable. */
  held = false
  parkedBytes = 0
  /** Reading from it was refused because too much is parked. */
  paused = false

  constructor(client: IpcClient) {
    this.client = client
  }
}

/** Routes by the dense slot of their core channel, so that a message costs one array look-up. */
export class RouteTable {
  readonly #routes: (Route | undefined)[] = []

  add(route: Route): void {
    this.#routes[channelSlot(route.channel)] = route
  }

  get(channel: ChannelHandle): Route | undefined {
    const route = this.#routes[channelSlot(channel)]
    return route?.channel === channel ? route : undefined
  }

  channels(): readonly ChannelHandle[] {
    return this.#routes.flatMap((route) => route?.channel ?? [])
  }

  remove(route: Route): void {
    if (this.get(route.channel) === route) this.#routes[channelSlot(route.channel)] = undefined
  }
}
