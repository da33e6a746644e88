import type { ShutdownResult, StatusResult } from '../core/wire/ipc/ipc-methods.ts'
import type { IpcMethodTable } from '../ipc/handler.ts'
import type { ApiKeys } from './api-keys.ts'
import type { BleService } from './ble/ble-service.ts'
import type { NatService } from './nat/nat-service.ts'
import type { PeerService } from './peer-service.ts'
import type { Router } from './router.ts'
import type { Subscriptions } from './topics/subscriptions.ts'

/** The parts of a daemon that answer clients. */
export interface MethodParts {
  readonly router: Router
  readonly peers: PeerService
  readonly nat: NatService
  readonly ble: BleService
  readonly apiKeys: ApiKeys
  readonly subscriptions: Subscriptions
  readonly status: () => StatusResult
  readonly shutdown: () => ShutdownResult
}

/** Who answers which method of the IPC. */
export function methodTable({ router, peers, nat, ble, apiKeys, subscriptions, status, shutdown }: MethodParts): IpcMethodTable {
  const { invites } = peers
  return {
    'status': () => status(),
    'netcheck': (_client, { lifetime }) => (lifetime ? nat.netcheckWithLifetime() : nat.netcheck()),
    'ble.status': () => ble.status(),
    'ble.power': (_client, { mode }) => ble.power(mode),
    'ble.nearby': () => ble.nearby(),
    'pair.start': (_client, request) => ble.pairing.start(request),
    'pair.status': () => ble.pairing.status(),
    'pair.answer': (_client, request) => ble.pairing.answer(request),
    'pair.stop': () => ble.pairing.stop(),
    'peers': (client, request) => peers.list(client, request),
    'peer.add': (_client, request) => peers.add(request),
    'peer.remove': (_client, request) => peers.remove(request.id),
    'peer.policy': (_client, request) => peers.paths.policy(request),
    'peer.connect': (client, request, signal) => peers.connect(client, request, signal),
    'peer.disconnect': (_client, request) => peers.disconnect(request.id),
    'peer.why': (_client, { id }) => peers.paths.why(id),
    'peer.ping': (_client, request, signal) => peers.ping(request.id, signal),
    'listen': (client, request) => router.listen(client, request),
    'unlisten': (client, request) => router.unlisten(client, request.app),
    'channel.open': (client, request, signal) => router.open(client, request, signal),
    'channel.accept': (client, request) => router.accept(client, request),
    'channel.reject': (client, request) => router.reject(client, request),
    'channel.close': (client, request, signal) => router.close(client, request, signal),
    'channel.stats': (client, request) => router.stats(client, request.channel),
    'invite.create': (_client, request) => invites.create(request),
    'invite.join': (_client, request) => invites.join(request.link),
    'invite.reply': (_client, request) => invites.reply(request.id),
    'invite.accept': (_client, request) => invites.accept(request.reply),
    'invite.list': () => invites.list(),
    'invite.revoke': (_client, request) => invites.revoke(request.id),
    'keys.create': (_client, request) => apiKeys.create(request),
    'keys.list': () => apiKeys.list(),
    'keys.revoke': async (_client, { id }) => {
      const revoked = apiKeys.revoke(id)
      // At once, not when it is on disk. The answer to a client that revokes its own key goes the same way.
      router.closeClientsOf(id)
      await revoked
      return {}
    },
    'subscribe': (client, request) => subscriptions.subscribe(client, request),
    'unsubscribe': (client, request) => subscriptions.unsubscribe(client, request),
    'leave': (client) => {
      client.leave()
      return {}
    },
    'shutdown': () => shutdown(),
  }
}
