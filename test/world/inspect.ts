import { Endpoint } from '../../src/core/endpoint/endpoint.ts'
import type { EndpointContract } from '../../src/core/endpoint/contract.ts'
import type { Node } from '../../src/core/endpoint/node.ts'

/** The tables behind a contract: a world must see them to judge every step. */
export function coreOf(endpoint: EndpointContract): Node {
  if (!(endpoint instanceof Endpoint)) throw new Error('a world runs the endpoint that ships')
  return endpoint.node
}
