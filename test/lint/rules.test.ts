import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'postern-lint-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

interface Report {
  readonly diagnostics: readonly { readonly code: string; readonly filename: string; readonly labels: readonly { readonly span: { readonly line: number } }[] }[]
}

/** Lines between `//# <rule>` and the next such line, and the rules that were broken there. */
function sections(text: string, found: ReadonlyMap<number, readonly string[]>): readonly (readonly [string, readonly string[]])[] {
  const result: [string, string[]][] = []
  for (const [i, line] of text.split('\n').entries()) {
    if (line.startsWith('//# ')) result.push([line.slice(4), []])
    result.at(-1)?.[1].push(...(found.get(i + 1) ?? []))
  }
  return result
}

// An update of the linter or a slip in its configuration that drops a rule would be seen by nobody else: what is clean stays clean.
test('every rule that we rely on finds what breaks it', () => {
  const planted = { 'src/daemon/anywhere.ts': 'anywhere.txt', 'src/core/core.ts': 'core.txt' }
  for (const name of ['.oxlintrc.json', 'tsconfig.json']) copyFileSync(join(root, name), join(directory, name))
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
  for (const path of ['src/core', 'src/daemon']) mkdirSync(join(directory, path), { recursive: true })
  for (const [path, from] of Object.entries(planted)) copyFileSync(join(root, 'test/lint', from), join(directory, path))
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), '-f', 'json', 'src'], { cwd: directory, encoding: 'utf8', maxBuffer: 64 << 20, timeout: 60_000 })
  expect([status, stderr]).toEqual([1, ''])
  const { diagnostics } = JSON.parse(stdout) as Report
  let rules = 0
  for (const [path, from] of Object.entries(planted)) {
    const found = new Map<number, string[]>()
    for (const { code, filename, labels } of diagnostics) {
      const line = labels[0]?.span.line ?? 0
      if (filename === path) found.set(line, [...(found.get(line) ?? []), /([\w-]+)\)?$/.exec(code)?.[1] ?? code])
    }
    for (const [rule, broken] of sections(readFileSync(join(root, 'test/lint', from), 'utf8'), found)) {
      expect(broken, `${path}: ${rule}`).toContain(rule)
      rules++
    }
  }
  expect(rules).toBeGreaterThan(75)
})
