/**
 * The process of one Bluetooth backend: `node child-main.js '{"name":"hci"}'`, with the pipe to the daemon as descriptor 3. It ends with the daemon. A
 * throw of a package ends it too: the daemon starts another one.
 */
import { Socket } from 'node:net'
import type { BackendOptions } from './backend.ts'
import { runBackend, type BackendModules } from './child.ts'

const modules: BackendModules = {
  bluez: () => import('./bluez/open.ts'),
  corebluetooth: () => import('./corebluetooth/open.ts'),
  hci: () => import('./hci/open.ts'),
  virtual: () => import('./hci/open.ts'),
}

// Ctrl-C in a terminal goes to the whole group: the daemon, which ends first what is open, decides.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => process.exit(0))

const pipe = new Socket({ fd: 3, readable: true, writable: true })
pipe.on('error', () => process.exit(0))
await runBackend(JSON.parse(process.argv[2] ?? '{}') as BackendOptions, modules, pipe)
process.exit(0)
