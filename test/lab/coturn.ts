import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Program } from '../e2e/support/program.ts'
import type { Namespace } from './namespaces.ts'
import { PUBLIC_HOSTS } from './nat.ts'

/** Why coturn cannot be asked here; `undefined` where it can. */
export function whyNoCoturn(): string | undefined {
  return spawnSync('turnserver', ['--version']).error === undefined ? undefined : '`turnserver` is not installed (package coturn)'
}

/** coturn on the server machine: with two addresses it speaks RFC 5780 by itself, on ports 3478 and 3479. */
export async function startCoturn(server: Namespace, directory: string): Promise<Program> {
  const file = join(directory, 'turnserver.conf')
  writeFileSync(file, [...PUBLIC_HOSTS.map((host) => `listening-ip=${host}`), 'listening-port=3478', 'alt-listening-port=3479', 'stun-only', 'no-tls', 'no-dtls', 'no-cli', 'log-file=stdout', 'simple-log', 'pidfile=/dev/null', ''].join('\n'))
  const program = new Program(['turnserver', '-c', file], { prefix: server.prefix })
  for (let tries = 0; tries < 200; tries++) {
    if (!program.running) break
    const open = spawnSync('ip', [...server.prefix.slice(1), 'ss', '-Hlnu', 'sport = :3478 or sport = :3479'], { encoding: 'utf8' }).stdout.trim().split('\n').filter((line) => line.includes('11.0.0.'))
    if (new Set(open.map((line) => /11\.0\.0\.\d:\d+/.exec(line)?.[0])).size === 4) return program
    await sleep(50)
  }
  await program[Symbol.asyncDispose]()
  throw new Error(`coturn did not listen:\n${program.out}${program.err}`)
}
