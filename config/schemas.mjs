// `npm run schemas`: writes docs/schemas, one file for each JSON that a command prints, from src/cli/result-schemas.ts.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, setUp } from './setup.mjs'

setUp(['product'])
const { resultSchemas, schemaText } = await import('../dist/cli/result-schemas.js')
const directory = join(root, 'docs', 'schemas')
mkdirSync(directory, { recursive: true })
const names = Object.keys(resultSchemas)
for (const name of readdirSync(directory)) {
  if (name.endsWith('.schema.json') && !names.includes(name.slice(0, -'.schema.json'.length))) rmSync(join(directory, name))
}
for (const name of names) writeFileSync(join(directory, `${name}.schema.json`), schemaText(name))
console.log(`docs/schemas: ${names.length} files`)
