// Two backends through bluetoothd on two controllers: `node dbus.mjs hci0 hci1`.
import { execFileSync } from 'node:child_process'
import { openBackend } from '../../dist/net/ble/bluez/open.js'
import { exchange, Side } from './exchange.mjs'

const started = Date.now()
const adapters = process.argv.slice(2)
const send = (...words) => execFileSync('dbus-send', ['--system', '--print-reply', '--dest=org.bluez', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 5000 })

async function waitForAdapters() {
  for (let i = 0; i < 40; i++) {
    try {
      if (send('/', 'org.freedesktop.DBus.ObjectManager.GetManagedObjects').split('GattManager1').length - 1 === adapters.length) return
    } catch {
      // bluetoothd has not begun yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  throw new Error('bluetoothd does not show the adapters')
}

try {
  await waitForAdapters()
  const sides = await Promise.all(adapters.map(async (adapter) => {
    const side = new Side(adapter, await openBackend({ name: 'bluez', adapter }))
    await side.has('adapter')
    // Switched off, that is said; switched on, it is found again.
    for (const state of ['off', 'on']) {
      const told = side.next('adapter', (event) => event.state === state)
      send(`/org/bluez/${adapter}`, 'org.freedesktop.DBus.Properties.Set', 'string:org.bluez.Adapter1', 'string:Powered', `variant:boolean:${state === 'on'}`)
      await told
    }
    return side
  }))
  const told = await exchange(sides[0], sides[1], { size: 514, total: 10_000, trips: 10, hint: Uint8Array.of(1, 2, 3, 4, 5, 6), isAnsweredFirst: true })
  await Promise.all(sides.map((side) => side.backend.close()))
  console.log(`PASS dbus in ${((Date.now() - started) / 1000).toFixed(1)} s: ${told}`)
  process.exit(0)
} catch (error) {
  console.log(`FAIL dbus after ${((Date.now() - started) / 1000).toFixed(1)} s: ${error.stack}`)
  process.exit(1)
}
