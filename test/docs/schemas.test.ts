import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { resultSchemas, schemaText } from '../../src/cli/result-schemas.ts'
import type { ResultName } from '../../src/cli/results.ts'
import { readText } from './support.ts'

const names = Object.keys(resultSchemas) as ResultName[]
const folder = fileURLToPath(new URL('../../docs/schemas', import.meta.url))

describe('docs/schemas', () => {
  it.each(names)('%s is what the code says: after a change, run `npm run schemas`', (name) => {
    expect(existsSync(`${folder}/${name}.schema.json`)).toBe(true)
    expect(readText(`docs/schemas/${name}.schema.json`)).toBe(schemaText(name))
  })

  it('holds nothing else', () => {
    expect(readdirSync(folder).sort()).toEqual(names.map((name) => `${name}.schema.json`).sort())
  })

  it('is linked from docs/cli.md, each of them', () => {
    const page = readText('docs/cli.md')
    expect(names.filter((name) => !page.includes(`](schemas/${name}.schema.json)`))).toEqual([])
  })

  it('goes into the package', () => {
    const { files, exports } = JSON.parse(readText('package.json')) as { readonly files: readonly string[]; readonly exports: Readonly<Record<string, unknown>> }
    expect(files).toContain('docs')
    expect(exports['./schemas/*.json']).toBe('./docs/schemas/*.json')
  })
})
