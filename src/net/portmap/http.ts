import { request, type IncomingMessage } from 'node:http'
import { decodeAddress } from '../../core/base/address.ts'
import type { HttpUrl } from '../../core/wire/http-url.ts'
import type { SoapRequest } from '../../core/wire/igd.ts'
import type { HttpOutcome } from '../../core/wire/port-map-io.ts'
import { XML_SIZE_MAX } from '../../core/wire/xml.ts'

const HEADERS_SIZE_MAX = 8192

export interface RouterRequest {
  readonly url: HttpUrl
  /** POST with it, else GET. */
  readonly soap: SoapRequest | undefined
  /** An IP literal to connect from. */
  readonly from: string
  /** For all of it: connecting, sending, the whole answer. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/**
 * One request to a router, which may be hostile: to the address that is given and nowhere else, one answer of at most 64 KiB and 8 KiB of
 * headers, no redirect followed, no connection kept, no proxy, no cookie. Never rejects; aborted, it is broken.
 */
export function askRouter({ url, soap, from, timeoutMs, signal }: RouterRequest): Promise<HttpOutcome> {
  const { host, port } = decodeAddress(url.address)
  return new Promise((resolve) => {
    const outgoing = request({
      host, port, path: url.path, method: soap === undefined ? 'GET' : 'POST', agent: false, localAddress: from, maxHeaderSize: HEADERS_SIZE_MAX, signal,
      headers: {
        'connection': 'close',
        ...(soap === undefined ? {} : { 'content-type': 'text/xml; charset="utf-8"', 'soapaction': soap.action, 'content-length': Buffer.byteLength(soap.body) }),
      },
    })
    const finish = (outcome: HttpOutcome): void => {
      clearTimeout(timer)
      resolve(outcome)
      outgoing.destroy()
    }
    const timer = setTimeout(() => finish({ kind: 'failed', reason: 'timeout' }), timeoutMs)
    outgoing.on('error', (error) => finish({ kind: 'failed', reason: 'code' in error && error.code === 'HPE_HEADER_OVERFLOW' ? 'oversized' : 'broken' }))
    outgoing.on('response', (response) => read(response, finish))
    outgoing.end(soap?.body)
  })
}

function read(response: IncomingMessage, finish: (outcome: HttpOutcome) => void): void {
  const pieces: Buffer[] = []
  let size = 0
  response.on('data', (piece: Buffer) => {
    size += piece.length
    if (size > XML_SIZE_MAX) finish({ kind: 'failed', reason: 'oversized' })
    else pieces.push(piece)
  })
  response.on('end', () => finish({ kind: 'answer', status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString('latin1') }))
  response.on('error', () => finish({ kind: 'failed', reason: 'broken' }))
  response.on('aborted', () => finish({ kind: 'failed', reason: 'broken' }))
}
