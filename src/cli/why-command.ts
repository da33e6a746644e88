import type { Globals, Output } from './output.ts'
import { resolvePeer, withClient } from './session.ts'
import { whyText } from './why-text.ts'

/** Where the traffic with a peer goes, why, what else was tried, and what would help. */
export async function why(globals: Globals, who: string, output: Output): Promise<void> {
  const found = await withClient(globals, async (client) => client.why(await resolvePeer(client, who)))
  output.result('why', found, () => whyText(found, output.columns))
}
