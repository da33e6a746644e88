import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = new URL('../../', import.meta.url)

/** A file of the repository as text. */
export function readText(path: string): string {
  return readFileSync(new URL(path, root), 'utf8')
}

/** A page split at its `## ` headings, by heading. */
export function sectionsOf(page: string): ReadonlyMap<string, string> {
  const sections = page.split(/^## /m).slice(1).map((section): [string, string] => [section.slice(0, section.indexOf('\n')), section])
  return new Map(sections)
}

/** What the first cells of a page's tables name: `` | `name` | ``. */
export function namesInTables(page: string): string[] {
  return [...page.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!)
}

/** One built program, run to its end. */
export function run(program: 'cli' | 'daemon', args: readonly string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
  const main = fileURLToPath(new URL(`dist/${program}/main.js`, root))
  const env = { ...process.env }
  delete env['POSTERN_DIR']
  return new Promise((resolve) => {
    // The help is as wide as it likes, so that no option is torn from its argument.
    execFile(process.execPath, [main, ...args], { env: { ...env, COLUMNS: '400', POSTERN_STUN: '0', POSTERN_PORTMAP: '0', POSTERN_BLE: '0' } }, (error, out, err) => {
      resolve({ status: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, out, err })
    })
  })
}

/** A daemon in a directory of its own while `action` runs. */
export async function withDaemon<T>(action: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-docs-'))
  try {
    const up = await run('cli', ['--dir', dir, '--json', 'up', '--set', 'limits.memory=64MiB'])
    if (up.status !== 0) throw new Error(up.out + up.err)
    try {
      return await action(dir)
    } finally {
      await run('cli', ['--dir', dir, 'down'])
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
