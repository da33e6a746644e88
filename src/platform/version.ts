import { readFileSync } from 'node:fs'

/** The version in package.json, two levels above this file both in src/ and in dist/. */
export const version: string = readVersion()

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string' ? parsed.version : '0.0.0'
}
