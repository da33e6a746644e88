// What the guest is made of, and where it comes from: packages of Debian and its children. Installed by those who ask for it (`--install`, which CI does), else named.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { BLUETOOTHD, find, run } from './image.mjs'

/** A kernel that is unpacked, never installed: 400 MB with its modules. */
export const CACHE = process.env.POSTERN_BLE_KERNEL_CACHE ?? join(homedir(), '.cache/postern-ble-kernel')
const APT_MS = 300_000

const programs = {
  'qemu-system-x86_64': 'qemu-system-x86', busybox: 'busybox-static', cpio: 'cpio', modprobe: 'kmod', btvirt: 'bluez-test-tools', hciconfig: 'bluez', 'dbus-daemon': 'dbus-daemon', 'dbus-send': 'dbus-bin',
  [BLUETOOTHD]: 'bluez', ldd: 'libc-bin',
}

/** A kernel with its modules: the one that is given, unpacked, or installed. */
export function findKernel() {
  for (const root of [process.env.POSTERN_BLE_KERNEL, CACHE, '/'].filter((path) => path !== undefined)) {
    const modules = join(root, 'lib/modules')
    for (const release of existsSync(modules) ? readdirSync(modules).sort().reverse() : []) {
      const isWhole = ['modules.dep', 'kernel/drivers/bluetooth'].every((name) => existsSync(join(modules, release, name)))
      if (isWhole && readdirSync(join(modules, release, 'kernel/drivers/bluetooth')).some((name) => name.startsWith('hci_vhci.ko')) && existsSync(join(root, 'boot', `vmlinuz-${release}`))) return { root, release }
    }
  }
  return undefined
}

const missingPackages = () => [...new Set(Object.entries(programs).filter(([program]) => find(program) === undefined).map(([, name]) => name))]

/** One line for each thing that is missing, with what brings it. */
export function whatIsMissing() {
  const missing = missingPackages()
  const lines = []
  if (missing.length > 0) lines.push(`apt-get install --no-install-recommends ${missing.join(' ')}`)
  if (findKernel() === undefined) lines.push(`a kernel with hci_vhci, unpacked in ${CACHE}: as root, \`npm run test:ble-kernel -- --install\``)
  return lines
}

function apt(...words) {
  const done = spawnSync('apt-get', words, { encoding: 'utf8', cwd: CACHE, timeout: APT_MS, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
  return done.status === 0 ? undefined : `apt-get ${words.join(' ')}: ${(done.stderr ?? '').trim().split('\n').at(-1) || done.error?.message || `ended with ${done.status}`}`
}

/** The newest kernel that apt has; those for clouds have no Bluetooth. */
function newestKernel() {
  const names = run('apt-cache', ['search', '--names-only', '^linux-image-[0-9].*-(amd64|generic)$']).split('\n').map((line) => line.split(' ')[0])
  const plain = names.filter((name) => /^linux-image-[0-9.]+-[0-9]+-(amd64|generic)$/.test(name))
  return plain.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
}

function unpackKernel(name) {
  const failed = apt('download', name)
  if (failed !== undefined) return failed
  for (const file of readdirSync(CACHE).filter((each) => each.endsWith('.deb'))) {
    run('dpkg', ['-x', join(CACHE, file), CACHE])
    rmSync(join(CACHE, file))
  }
  const release = name.slice('linux-image-'.length)
  run('depmod', ['-b', CACHE, release])
  return undefined
}

/** Brings what is missing; why it could not, in one sentence. */
export function install() {
  if (process.getuid?.() !== 0 || find('apt-get') === undefined || process.arch !== 'x64') return 'needs root and apt-get, on x64'
  mkdirSync(CACHE, { recursive: true })
  const missing = missingPackages()
  if (missing.length === 0 && findKernel() !== undefined) return undefined
  // Old lists name files that are gone; without any network this fails, and what is needed may be there all the same.
  apt('update', '-qq')
  const failed = missing.length === 0 ? undefined : apt('install', '-y', '-qq', '--no-install-recommends', ...missing)
  if (failed !== undefined || findKernel() !== undefined) return failed
  const kernel = newestKernel()
  return kernel === undefined ? 'apt has no kernel called linux-image-…-amd64' : unpackKernel(kernel)
}
