import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

interface Entry {
  readonly optional?: boolean
  readonly hasInstallScript?: boolean
  readonly gypfile?: boolean
  readonly name?: string
}

const read = (path: string): unknown => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'))

/**
 * npm compiles a package that has a binding.gyp, or whose entry in the lock file says that it has a script for its installation. The Bluetooth packages have
 * both and need neither here (docs/ble.md). `npm install` writes `hasInstallScript` anew whenever it touches them: replace that line by `"gypfile": false`.
 */
test('nothing is compiled, and nothing downloads a binary, when the optional packages are installed', () => {
  const lock = read('package-lock.json') as { readonly packages: Readonly<Record<string, Entry>> }
  const { overrides, optionalDependencies } = read('package.json') as Record<'overrides' | 'optionalDependencies', Readonly<Record<string, string>>>
  for (const [path, entry] of Object.entries(lock.packages)) if (entry.optional === true && path !== 'node_modules/fsevents') expect(entry.hasInstallScript, path).toBeUndefined()
  for (const name of ['@abandonware/noble', '@abandonware/bleno']) expect(lock.packages[`node_modules/${name}`], name).toMatchObject({ optional: true, gypfile: false })
  expect(Object.keys(optionalDependencies)).toEqual(['@abandonware/bleno', '@abandonware/noble', 'dbus-next'])
  for (const name of Object.keys(overrides)) expect(lock.packages[`node_modules/${name}`]?.name, name).toBe('empty-npm-package')
})
