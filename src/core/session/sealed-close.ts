import { writeU32, writeU64 } from '../base/bytes.ts'
import { AeadBatch } from '../crypto/aead-batch.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, TYPE_TRANSPORT } from '../wire/datagram.ts'
import { writeClose } from '../wire/frame.ts'

const PLAINTEXT_SIZE = 16

/** The first and only datagram under the keys of a handshake whose other side does not come in: a CLOSE without words. The provider takes `key` over. */
export function sealCloseDatagram(provider: CryptoProvider, key: Uint8Array, receiverIndex: number, code: number): Uint8Array {
  const datagram = new Uint8Array(PLAINTEXT_SIZE + TRANSPORT_OVERHEAD)
  datagram[0] = TYPE_TRANSPORT
  writeU32(datagram, 1, receiverIndex)
  writeU64(datagram, 5, 0)
  writeClose(datagram, TRANSPORT_HEADER_SIZE, code, 0, '')
  const batch = new AeadBatch(1)
  const slot = provider.addKey(key)
  batch.push(slot, 0, TRANSPORT_HEADER_SIZE, PLAINTEXT_SIZE)
  provider.sealBatch(datagram, batch)
  provider.removeKey(slot)
  return datagram
}
