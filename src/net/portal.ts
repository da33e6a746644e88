import { get } from 'node:http'

const TIMEOUT_MS = 3000

/** none: the web answers itself · likely: something else answers in its place · unknown: nothing answers, or nobody was asked */
export type PortalGuess = 'none' | 'likely' | 'unknown'

/**
 * Asks for a page that has no content (status 204). Where a network makes people log in first, its gate answers instead: with a redirect, which is
 * not followed, or with a page, which is not read.
 */
export function guessPortal(url: string, timeoutMs: number = TIMEOUT_MS): Promise<PortalGuess> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(timeoutMs), headers: { 'cache-control': 'no-cache' } }, (response) => {
      resolve(response.statusCode === 204 ? 'none' : 'likely')
      request.destroy()
    })
    request.on('error', () => resolve('unknown'))
  })
}
