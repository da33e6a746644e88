import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../shared/vectors')

/**
 * A file of published test vectors, parsed in place: they belong to others and are never copied into the project. `undefined`
 * (and one line on the console) where they are not beside the checkout; the caller skips its tests then.
 */
export function readVectors(name: string): unknown {
  const path = join(folder, name)
  if (!existsSync(path)) {
    console.warn(`skipped: published vectors ${name} are not at ${folder}`)
    return undefined
  }
  return JSON.parse(readFileSync(path, 'utf8'))
}
