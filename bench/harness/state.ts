import { join } from 'node:path'
import { toWallTime } from '../../src/core/base/time.ts'
import { encodePeerId } from '../../src/core/wire/peer-id.ts'
import { encodeRecord, storeKeys } from '../../src/daemon/records.ts'
import { StateDirectory } from '../../src/store/state-directory.ts'

/** As many as the store takes at once. */
const BATCH = 4096

/** Puts peers into the roster of an instance that has not been started yet, as if they had been added one by one. */
export async function writeRoster(instance: string, ids: readonly Uint8Array[]): Promise<void> {
  await using state = await StateDirectory.open({ path: join(instance, 'state') })
  const addedAt = toWallTime(Date.now())
  for (let from = 0; from < ids.length; from += BATCH) {
    await state.store.batch(ids.slice(from, from + BATCH).map((id) => ({
      kind: 'put', key: `${storeKeys.peers}${encodePeerId(id)}`,
      value: encodeRecord({
        kind: 'peer',
        record: { id, name: undefined, addresses: [], addedAt, connectedAt: undefined, hadSession: false, greatest: undefined, lastSent: undefined, policy: undefined, invite: undefined },
      }),
    })))
  }
}
