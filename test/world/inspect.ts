import type { Arena } from '../../src/core/base/arena.ts'
import type { EndpointContract } from '../../src/core/endpoint/contract.ts'
import { Node } from '../../src/core/endpoint/node.ts'

/**
 * An endpoint keeps its tables to itself. A world must see them to judge every step, so it notes each node by its arena when
 * the first link is opened, which happens before anything else.
 */
const cores = new WeakMap<Arena, Node>()
const openLink = Reflect.get(Node.prototype, 'openLink')
Node.prototype.openLink = function (this: Node, ...args) {
  cores.set(this.arena, this)
  openLink.apply(this, args)
}

export function coreOf(endpoint: EndpointContract): Node {
  return cores.get(endpoint.arena)!
}
