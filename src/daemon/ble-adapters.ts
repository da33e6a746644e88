import { existsSync, readdirSync } from 'node:fs'
import type { BackendName } from '../net/ble/backend.ts'

/** Where Linux lists its Bluetooth adapters: hci0, hci1, … Links of those appear there too, with a colon. */
const ADAPTERS = '/sys/class/bluetooth'
const SYSTEM_BUS = '/run/dbus/system_bus_socket'

/** What a cheap look at the machine says: no process is started for it. */
export type AdapterLook =
  | { readonly kind: 'found'; readonly backend: BackendName }
  | { readonly kind: 'none'; readonly reason: string }

export interface Machine {
  readonly platform: NodeJS.Platform
  /** Names in a directory; `undefined`: there is none. */
  list(path: string): readonly string[] | undefined
  exists(path: string): boolean
}

export const thisMachine: Machine = {
  platform: process.platform,
  list: (path) => {
    try {
      return readdirSync(path)
    } catch {
      return undefined
    }
  },
  exists: existsSync,
}

/** Beside bluetoothd where there is a system bus, since it shares the adapter with headsets and keyboards; else the adapter alone. */
export function lookForAdapter(machine: Machine = thisMachine): AdapterLook {
  if (machine.platform === 'darwin') return { kind: 'found', backend: 'corebluetooth' }
  if (machine.platform !== 'linux') return { kind: 'none', reason: `There is no Bluetooth for ${machine.platform} in this version.` }
  const adapters = machine.list(ADAPTERS)
  if (adapters === undefined) return { kind: 'none', reason: `This machine has no Bluetooth: the kernel has no driver for it (${ADAPTERS} is missing).` }
  if (!adapters.some((name) => /^hci\d+$/.test(name))) return { kind: 'none', reason: `This machine has no Bluetooth adapter (nothing in ${ADAPTERS}).` }
  return { kind: 'found', backend: machine.exists(SYSTEM_BUS) ? 'bluez' : 'hci' }
}
