/** What the mapping of ports has of a driver: the types of both sides of that border. */

/** Sockets of the driver: the one that PCP and NAT-PMP are asked from, the one that routers are searched from, the one that hears announcements. */
export type DatagramWay = 'mapping' | 'search' | 'announcement'

export type HttpOutcome =
  /** `body`: one character per byte. Redirects are answers like others: nobody follows them. */
  | { readonly kind: 'answer'; readonly status: number; readonly body: string }
  | { readonly kind: 'failed'; readonly reason: 'oversized' | 'timeout' | 'broken' }

/** The default gateway and our own address on the way to it: 18 bytes each, port 0. */
export interface Gateway {
  readonly router: Uint8Array
  readonly local: Uint8Array
}
