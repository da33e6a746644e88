import type { CryptoProvider } from '../crypto/provider.ts'
import { fragmentBody, fragmentOverhead, writeHandshakeFragment, type FragmentHeader } from '../wire/handshake-fragment.ts'
import { writeFragmentMacs } from './macs.ts'

/** One fragment of a Noise message as a whole datagram: header, piece, mac1, and in A mac2. */
export function handshakeDatagram(provider: CryptoProvider, header: FragmentHeader, message: Uint8Array, macKey: Uint8Array, cookie?: Uint8Array): Uint8Array {
  const body = fragmentBody(message, header.number, header.count)
  const datagram = new Uint8Array(body.length + fragmentOverhead(header.message))
  const bodyEnd = writeHandshakeFragment(datagram, 0, header, body)
  writeFragmentMacs(provider, datagram, 0, bodyEnd, header.message, macKey, cookie)
  return datagram
}
