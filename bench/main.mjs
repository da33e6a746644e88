// `npm run bench`: compiles the bench when it or the product changed, then runs it. It has a build of the product of its own
// (dist-bench/src): a rebuild of dist/ must not change what is being measured. Plain JavaScript, because it runs before that.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const built = join(root, 'dist-bench')

/** Hash of the names and contents of everything below `paths`. */
function digestOf(paths) {
  const hash = createHash('sha256')
  const visit = (path) => {
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name))
    } else {
      hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0')
    }
  }
  for (const path of paths) visit(join(root, path))
  return hash.digest('hex')
}

const sources = [
  'src', ...readdirSync(join(root, 'bench')).filter((name) => name.endsWith('.ts')).map((name) => `bench/${name}`), 'bench/harness', 'bench/peers', 'bench/limit', 'test/lab',
  'bench/tsconfig.json', 'tsconfig.json', 'package-lock.json',
]
const stamp = join(built, '.postern-build')
const wanted = digestOf(sources)
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  process.stderr.write('postern: building the bench …\n')
  // Beside the old build, then swapped: nobody finds half of one.
  const fresh = `${built}-${process.pid}.new`
  const done = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'bench/tsconfig.json'), '--outDir', fresh], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (done.status !== 0) {
    rmSync(fresh, { recursive: true, force: true })
    console.error('bench: it does not compile; the output above says why.')
    process.exit(1)
  }
  // The product reads its version two levels above its files.
  copyFileSync(join(root, 'package.json'), join(fresh, 'package.json'))
  writeFileSync(join(fresh, '.postern-build'), wanted)
  const old = `${built}-${process.pid}.old`
  if (existsSync(built)) renameSync(built, old)
  renameSync(fresh, built)
  rmSync(old, { recursive: true, force: true })
}
// The addon, too, is a copy, and lies two levels above the product's files.
const addon = join(root, 'native/addon/built/postern.node')
if (existsSync(addon)) {
  const copies = join(built, 'native/addon/built')
  mkdirSync(copies, { recursive: true })
  copyFileSync(addon, join(copies, `postern.node.${process.pid}`))
  renameSync(join(copies, `postern.node.${process.pid}`), join(copies, 'postern.node'))
}
// `npm run bench:check` is a program of its own.
await import(new URL(`../dist-bench/bench/${process.argv[2] === 'check' ? 'check' : 'main'}.js`, import.meta.url).href)
