import { formatAddress } from '../../core/base/address.ts'
import type { EndpointEvent, PeerHandle } from '../../core/endpoint/contract.ts'
import type { Log } from '../log/log.ts'

const kinds = ['link-peer', 'link-refused', 'pairing', 'paired', 'pairing-ended'] as const
export type RadioEvent = Extract<EndpointEvent, { readonly kind: (typeof kinds)[number] }>

export function isRadioEvent(event: EndpointEvent): event is RadioEvent {
  return kinds.some((kind) => kind === event.kind)
}

/** What handshakes of nobody in particular came to. The digits of a pairing are for two people, not for a log. */
export function logRadio(log: Log, event: RadioEvent, idOf: (peer: PeerHandle) => string): void {
  switch (event.kind) {
    case 'link-peer':
      log.debug('who is at the other end of a connection', { id: idOf(event.peer), address: formatAddress(event.address) })
      return
    case 'link-refused':
      log.debug('nobody to talk to at the other end of a connection', { address: formatAddress(event.address), reason: event.reason })
      return
    case 'pairing':
      log.info('pairing: two people compare', { id: idOf(event.peer) })
      return
    case 'paired':
      log.info('paired', { id: idOf(event.peer) })
      return
    case 'pairing-ended':
      log.info('a pairing came to nothing', { id: idOf(event.peer) })
  }
}
