import { unknownNat } from '../../src/daemon/why/why-nat.ts'
import type { Outside } from '../../src/daemon/why/why.ts'

/** A node that asks nobody where it is, and no router. */
export const nothingOutside: Outside = { nat: { ...unknownNat, servers: 'off', ipv6: false }, portMapping: { state: 'disabled', mapped: [] }, advertises: false, guesses: true, sessions: 0 }
