import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'

/** Of a routing table larger than this, as that of a router of the Internet, the rest is not looked at. */
const TABLE_SIZE_MAX = 65_536

/**
 * What decides over which ways this machine reaches others, as one text to compare: the addresses of its interfaces and its routes,
 * without what only belongs to one cable, or to nobody else. Routes are known on Linux alone. Under a millisecond.
 */
export function networkState(): string {
  return [...addresses(), ...table('/proc/net/route', routeOf4), ...table('/proc/net/ipv6_route', routeOf6)].sort().join('\n')
}

/** Whether there is any network besides the machine itself. */
export function hasNetwork(): boolean {
  return Object.values(networkInterfaces()).some((own) => own?.some(({ internal }) => !internal) === true)
}

function addresses(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, own]) => (own ?? []).flatMap(({ cidr, internal, family }) => (
    internal || cidr === null || (family === 'IPv6' && /^fe[89ab]/i.test(cidr)) ? [] : [`${name} ${cidr}`]
  )))
}

function table(path: string, read: (columns: readonly string[]) => string | undefined): string[] {
  let text: string
  try {
    text = readFileSync(path, 'latin1').slice(0, TABLE_SIZE_MAX)
  } catch {
    return []
  }
  return text.split('\n').flatMap((line) => read(line.trim().split(/\s+/)) ?? [])
}

/** Interface, destination, gateway, flags, metric, mask of `/proc/net/route`. */
export function routeOf4(columns: readonly string[]): string | undefined {
  const [name, destination, gateway, flags, , , metric, mask] = columns
  return mask === undefined || flags === 'Flags' ? undefined : `${name} ${destination} ${gateway} ${flags} ${metric} ${mask}`
}

/** Interface, destination, its length, next hop, metric of `/proc/net/ipv6_route`: the last two columns but one count uses. */
export function routeOf6(columns: readonly string[]): string | undefined {
  const [destination, length, , , nextHop, metric, , , , name] = columns
  if (name === undefined || name === 'lo' || /^(fe[89ab]|ff)/.test(destination!)) return undefined
  return `${name} ${destination} ${length} ${nextHop} ${metric}`
}
