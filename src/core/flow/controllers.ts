import type { LinkKind } from '../base/domain.ts'
import type { CongestionController } from './congestion.ts'
import { Cubic } from './cubic.ts'
import { ModelBased } from './model-based.ts'
import { BLE_CREDIT, ReliableLimiter, TCP_CREDIT } from './reliable-limiter.ts'

/** Names of the controllers that a path which may lose datagrams can have. */
export const congestionNames = ['model', 'cubic'] as const
export type CongestionName = (typeof congestionNames)[number]

/**
 * A fresh controller for a path over a link of this kind, with datagrams of this size. Where the link delivers by itself, `name`
 * does not count. @param seed any number, another for each path
 */
export function newController(name: CongestionName, kind: LinkKind, datagramSize: number, seed: number): CongestionController {
  switch (kind) {
    case 'tcp': return new ReliableLimiter(datagramSize, TCP_CREDIT)
    case 'ble': return new ReliableLimiter(datagramSize, BLE_CREDIT)
    case 'udp':
    case 'relay':
    case 'turn': break
    default: kind satisfies never
  }
  return name === 'cubic' ? new Cubic(datagramSize) : new ModelBased(datagramSize, seed)
}
