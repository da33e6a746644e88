// The guest's whole file system, as an archive that the kernel unpacks into memory: programs of this machine with the libraries that they load, the product with its
// packages, and a kernel's modules. Nothing is copied before, and nothing of the machine is within the guest's reach. (Over 9p instead, a Node took a minute to
// start on a busy machine: every file of a module is some round trips through an emulator.)
import { spawnSync } from 'node:child_process'
import { closeSync, copyFileSync, existsSync, lstatSync, mkdirSync, openSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const project = join(here, '../..')
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`

export const BLUETOOTHD = ['/usr/libexec/bluetooth/bluetoothd', '/usr/lib/bluetooth/bluetoothd'].find((path) => existsSync(path)) ?? '/usr/libexec/bluetooth/bluetoothd'
/** What the guest runs, beside Node and busybox. */
const programs = ['btvirt', 'hciconfig', 'dbus-daemon', 'dbus-send', BLUETOOTHD]
/** The bus's own configuration, and the users that it names. */
const settings = ['/usr/share/dbus-1/system.conf', '/usr/share/dbus-1/system.d', '/etc/dbus-1', '/etc/passwd', '/etc/group', '/etc/nsswitch.conf']
const modules = ['bluetooth', 'hci_vhci', 'af_alg', 'algif_hash', 'algif_skcipher', 'ecb', 'cmac', 'ccm', 'uhid']

export function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options, env: { ...process.env, PATH } })
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr || done.error?.message || done.status}`)
  return done.stdout
}

export function find(program) {
  const done = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8', env: { ...process.env, PATH } })
  return done.status === 0 ? done.stdout.trim() : undefined
}

/** A file by its real name, and every link on the way to it; none of them is named through another. */
function* withLinks(path) {
  let [at, rest] = ['/', path.split('/').filter((part) => part !== '')]
  while (rest.length > 0) {
    const next = join(at, rest.shift())
    if (lstatSync(next).isSymbolicLink()) {
      yield next
      rest = [...resolve(at, readlinkSync(next)).split('/').filter((part) => part !== ''), ...rest]
      at = '/'
    } else at = next
  }
  yield at
}

function libraries(program) {
  const done = spawnSync('ldd', [program], { encoding: 'utf8' })
  return done.status === 0 ? [...done.stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path]) => path) : []
}

function* filesIn(path) {
  if (!existsSync(path)) return
  if (!lstatSync(path).isDirectory()) return yield path
  for (const name of readdirSync(path)) yield* filesIn(join(path, name))
}

/** The packages that the product loads, and what those load. */
function packages() {
  const lines = run('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: project }).split('\n')
  return lines.filter((line) => line.includes('/node_modules/'))
}

/** Names relative to the root of this machine, with the directories above them. */
function namesOf(paths) {
  const names = new Set()
  for (const path of paths) {
    for (let at = path; at !== '/'; at = dirname(at)) names.add(at.slice(1))
  }
  return [...names].sort()
}

function* product() {
  yield* ['dist', 'native/addon/built', 'package.json', 'test/ble-kernel'].map((name) => join(project, name))
  yield* packages()
}

function fromMachine() {
  const binaries = [process.execPath, ...programs.map((name) => find(name) ?? name)]
  const paths = new Set()
  for (const binary of binaries) for (const file of [binary, ...libraries(binary)]) for (const path of withLinks(file)) paths.add(path)
  for (const directory of [...settings, ...product()]) for (const file of filesIn(directory)) for (const path of withLinks(file)) paths.add(path)
  return namesOf(paths)
}

/** In the order in which they are loaded. Some are built into some kernels. */
function modulesOf({ root, release }) {
  const files = new Set()
  for (const name of modules) {
    for (const line of run('modprobe', ['-d', root, '-S', release, '--show-depends', name]).split('\n')) {
      const file = /^insmod (\S+)/.exec(line)?.[1]
      if (file !== undefined) files.add(file)
    }
  }
  return [...files]
}

const init = (words) => `#!/busybox sh
/busybox mkdir -p /bin /usr/bin /usr/sbin /proc /sys /dev /run/dbus /tmp /root /var/lib/bluetooth; [ -e /var/run ] || /busybox ln -s /run /var/run
for applet in sh mount ip cat cut tail head grep sleep timeout mkdir kill poweroff insmod; do [ -e /usr/bin/$applet ] || /busybox ln -s /busybox /usr/bin/$applet; done
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in /mods/*; do insmod $m || echo "insmod $m failed"; done
export NODE=${process.execPath} BLUETOOTHD=${BLUETOOTHD} AGAIN=${process.env.CI === 'true' ? 1 : 0}
sh ${here}/guest.sh ${words.join(' ')}
poweroff -f
`

/** Writes the archive into `directory`, and says where it is. */
export function makeImage(kernel, directory, words) {
  const tree = join(directory, 'tree')
  mkdirSync(join(tree, 'mods'), { recursive: true })
  copyFileSync(realpathSync(find('busybox')), join(tree, 'busybox'))
  modulesOf(kernel).forEach((file, i) => copyFileSync(file, join(tree, 'mods', `${String(i).padStart(3, '0')}-${basename(file)}`)))
  writeFileSync(join(tree, 'init'), init(words), { mode: 0o755 })
  const image = join(directory, 'initrd')
  const out = openSync(image, 'w')
  // Two archives, one after the other, are one to the kernel. Neither is compressed: to unpack it would cost an emulated processor more than it saves.
  const pack = (cwd, names) => run('cpio', ['-o', '-H', 'newc', '--quiet', '-R', '0:0'], { cwd, input: `${names.join('\n')}\n`, stdio: ['pipe', out, 'pipe'] })
  pack('/', fromMachine())
  pack(tree, namesOf([...filesIn(tree)].map((path) => path.slice(tree.length))))
  closeSync(out)
  return image
}
