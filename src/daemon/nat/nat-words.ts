import type { FilteringClass, MappingClass, NatWord } from '../../core/stun/nat-classes.ts'
import type { NetcheckState } from '../../core/wire/ipc/ipc-nat.ts'

/** What the classes mean for who wants to be reached, in a sentence. */
export function meaningOf(state: NetcheckState, nat: { readonly mapping: MappingClass; readonly filtering: FilteringClass; readonly word: NatWord }): string {
  switch (state) {
    case 'off':
      return 'Nobody was asked: STUN is switched off ([stun] enabled, or POSTERN_STUN=0).'
    case 'no_address':
      return 'This machine has no address of this family that the daemon uses.'
    case 'no_server':
      return 'No server with an address of this family is known.'
    case 'unreachable':
      return 'The system has no way to any server.'
    case 'silent':
      return 'No server answers: UDP does not get through, or they are all gone. Peers are reached by TCP, or in the local network.'
    case 'works':
      return meaningOfWord(nat.word)
  }
}

function meaningOfWord(word: NatWord): string {
  switch (word) {
    case 'open':
      return 'Reachable from everywhere.'
    case 'firewall':
      return 'No NAT, but a firewall lets in only who was sent to: two such nodes connect when both dial at once.'
    case 'full cone':
      return 'Reachable from everywhere by the address outside, while it is kept open.'
    case 'restricted cone':
    case 'port-restricted cone':
    case 'cone':
      return 'Reachable by those that this node sends to at the same time; not from behind a symmetric NAT without guessing ports.'
    case 'symmetric':
      return 'Each destination sees another port: reachable directly only by nodes that are open or behind a full or restricted cone, else by guessing ports, which takes some seconds; not from behind another such NAT.'
    case 'unknown':
      return 'UDP works; what kind of NAT there is, none of the servers could tell.'
  }
}
