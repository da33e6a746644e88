// Brings a checkout to the state in which the product can run: installs packages and builds dist/ when either is
// missing or older than what it is made from. Plain JavaScript, because it runs before anything was installed.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Postern needs Node.js 20.19 or newer; this is ${process.version}. Install a newer one (https://nodejs.org) and try again.`)
  process.exit(69)
}

/** Hash of the names and contents of everything below `paths`. */
function digestOf(paths) {
  const hash = createHash('sha256')
  const visit = (path) => {
    if (!existsSync(path)) return
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name))
    } else {
      hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0')
    }
  }
  for (const path of paths) visit(join(root, path))
  return hash.digest('hex')
}

const stampOf = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')

function run(title, command, args) {
  process.stderr.write(`postern: ${title} …\n`)
  const started = Date.now()
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 64 << 20 })
  if (done.status !== 0) {
    process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}\n`)
    console.error(`postern: ${title} failed${done.error ? ` (${done.error.message})` : ''}. The output above says why.`)
    process.exit(done.status ?? 1)
  }
  process.stderr.write(`postern: ${title}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`)
}

/** Installs and builds what is missing or stale; silent when nothing is to be done. */
export function setUp() {
  const installStamp = join(root, 'node_modules', '.postern-install')
  const wanted = digestOf(['package-lock.json'])
  if (stampOf(installStamp) !== wanted) {
    run('installing packages', process.platform === 'win32' ? 'npm.cmd' : 'npm', ['ci', '--no-fund', '--no-audit'])
    writeFileSync(installStamp, wanted)
  }
  const buildStamp = join(root, 'dist', '.postern-build')
  const sources = digestOf(['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'])
  if (stampOf(buildStamp) !== sources) {
    rmSync(join(root, 'dist'), { recursive: true, force: true })
    mkdirSync(join(root, 'dist'), { recursive: true })
    run('building', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'])
    writeFileSync(buildStamp, sources)
  }
}
