import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readText } from './support.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const pages = ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)]

/** Places a path in backticks may start from. */
const starts = ['', 'src', 'src/core']

describe.each(pages)('%s', (path) => {
  const page = readText(path)

  it('links to what is there', () => {
    const targets = [...page.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1]!).filter((target) => !/^[a-z]+:/.test(target))
    expect(targets.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([])
  })

  it('names source files and tests that exist', () => {
    const named = [...page.matchAll(/`([\w-]+(?:\/[\w.-]+)+\.(?:ts|mjs|md))`/g)].map((match) => match[1]!)
    expect(named.filter((name) => !starts.some((start) => existsSync(join(root, start, name))))).toEqual([])
  })

  it('stands alone', () => {
    expect(page).not.toMatch(/\.\.\/shared|\/work\//)
  })
})
