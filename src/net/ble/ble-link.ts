import { randomBytes } from 'node:crypto'
import { encodeBleAddress } from '../../core/base/ble-address.ts'
import type { Instant } from '../../core/base/time.ts'
import { BleLink } from '../../core/ble/link.ts'
import type { BleLinkLimits } from '../../core/ble/limits.ts'
import { bleDatagramSize, HELLO_NONCE_SIZE } from '../../core/ble/values.ts'
import type { LinkId, LinkInfo } from '../../core/endpoint/contract.ts'
import { bleAddressOf } from './addresses.ts'
import type { BackendEvent, Role } from './backend.ts'
import type { BleEndReason } from './ble-end.ts'

/** A radio's own address is its business, and may change: nobody dials it by what the core knows. */
const OWN_ADDRESS: Uint8Array = encodeBleAddress('named', new Uint8Array(6))

/** One link of the driver: its machine, and what its host was told of it. */
export class DriverBleLink {
  /** The backend's number. */
  readonly number: number
  readonly role: Role
  readonly address: string
  readonly remote: Uint8Array
  /** Of the dial it answers. */
  readonly token: number | undefined
  readonly machine: BleLink
  readonly intervalMs: number | undefined
  readonly #nonce: Uint8Array = new Uint8Array(randomBytes(HELLO_NONCE_SIZE))
  /** What the host knows it by, once it carries datagrams. */
  id: LinkId | undefined
  info: LinkInfo | undefined
  confirmed = false
  blocked = false
  /** A datagram was taken since the last `writable`. */
  owed = false
  /** Why it ended, when that is not for the machine to say. */
  ended: { readonly reason: BleEndReason; readonly detail: string } | undefined

  constructor(now: Instant, opened: Extract<BackendEvent, { kind: 'opened' }>, token: number | undefined, limits: BleLinkLimits) {
    this.number = opened.link
    this.role = opened.role
    this.address = opened.address
    this.remote = bleAddressOf(opened.address)
    this.token = token
    this.intervalMs = opened.intervalMs
    this.machine = new BleLink(now, opened.mtu, limits, this.#nonce)
  }

  makeInfo(): LinkInfo {
    this.info = {
      kind: 'ble', local: OWN_ADDRESS, remote: this.remote, dialed: this.role === 'central', datagramMax: this.machine.datagramMax,
      datagramSize: Math.min(bleDatagramSize(this.machine.mtu), this.machine.datagramMax), single: true, segmentsMax: 1,
      nonce: this.role === 'central' ? this.machine.peerNonce : this.#nonce,
    }
    return this.info
  }
}
