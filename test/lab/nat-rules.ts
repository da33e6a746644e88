/**
 * Routers of a lab by what they do to UDP, as nftables rules (conntrack does the rest):
 *
 *   none      no router: the machine stands on the public net
 *   full      one outside port for each inside port, and everybody is let in by it
 *   addr      … only hosts that were sent to
 *   port      … only hosts and ports that were sent to (plain masquerade)
 *   sym       another outside port for each destination (masquerade fully-random)
 *   cgnat     a `port` router behind a `port` router of the provider, cgnatsym: behind a `sym` one
 *   udpblock  `port`, and no UDP passes
 */
export const natKinds = ['none', 'full', 'addr', 'port', 'sym', 'cgnat', 'cgnatsym', 'udpblock'] as const
export type NatKind = (typeof natKinds)[number]

export interface RouterOptions {
  /** Machines behind it reach each other by their outside addresses. */
  readonly hairpin?: boolean
  /**
   * A bad router: what comes to its own outside address is accepted, so that it answers early punches with "port unreachable", and remembers them: who then sends from inside
   * to where one came from is seen at another port.
   */
  readonly open?: boolean
}

/** The public net of the lab is one cable. What would not have come so far does not come in. */
const FAR = 32

/** Rules of one router whose outside address is `wan`, as `nft -f -` reads them. */
export function routerRules(kind: Exclude<NatKind, 'none' | 'cgnat' | 'cgnatsym'>, wan: string, { hairpin = false, open = false }: RouterOptions = {}): string {
  const learns = kind === 'full' || kind === 'addr' || hairpin
  const outside = hairpin ? '' : 'iifname "wan"'
  const unseen = kind === 'full' ? undefined : kind === 'addr' ? 'ip saddr != @hosts' : 'ip saddr . udp sport != @places'
  const filter = !learns || unseen === undefined ? '' : `iifname "wan" meta l4proto udp ct state new udp dport . ${unseen} drop`
  return `
table ip nat {
  ${learns ? learning : ''}
  chain before { type filter hook prerouting priority -150; ${filter}
  }
  chain prerouting { type nat hook prerouting priority dstnat; ${learns ? `ip daddr ${wan} ${outside} meta l4proto udp dnat ip to udp dport map @inside` : ''}
  }
  chain postrouting { type nat hook postrouting priority srcnat; oifname "wan" masquerade ${kind === 'sym' ? 'fully-random' : ''}
    ${hairpin ? `iifname "lan" oifname "lan" ct status dnat snat ip to ${wan}` : ''}
  }
}
table inet filter {
  chain distance { type filter hook prerouting priority -300; iifname "wan" ip ttl < ${FAR} drop
  }
  chain input { type filter hook input priority 0; policy accept; ${open ? '' : 'iifname "wan" ct state new drop'}
  }
  chain forward { type filter hook forward priority 0; policy accept; ${kind === 'udpblock' ? 'meta l4proto udp drop' : ''}
    iifname "wan" ct state new ct status dnat accept
    iifname "wan" ct state new drop
  }
}
`
}

/** Who sent from which port, and whereto: kept for two minutes. Masquerade keeps the port while nobody else has it, so that it is the outside port too. */
const learning = `map inside { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 120s; size 65535; }
  set hosts { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 120s; size 65535; }
  set places { type inet_service . ipv4_addr . inet_service; flags dynamic,timeout; timeout 120s; size 65535; }
  chain learn { type filter hook postrouting priority -150;
    oifname "wan" meta l4proto udp update @inside { udp sport : ip saddr . udp sport }
    oifname "wan" meta l4proto udp update @hosts { udp sport . ip daddr }
    oifname "wan" meta l4proto udp update @places { udp sport . ip daddr . udp dport }
  }`
