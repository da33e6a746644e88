// Two stacks of ours on two controllers of the kernel: `node hci.mjs raw|user-channel hci0 hci1`.
import { fileURLToPath } from 'node:url'
import { HciStack } from '../../dist/net/ble/hci/stack.js'
import { hciTime } from '../../dist/net/ble/hci/transport.js'
import { deviceNumber, loadAddonHci, openUserChannel } from '../../dist/net/ble/hci/user-channel.js'
import { exchange, Side } from './exchange.mjs'

process.setMaxListeners(100)
const [suite, ...adapters] = process.argv.slice(2)
const addon = loadAddonHci(fileURLToPath(new URL('../../native/addon/built/postern.node', import.meta.url)))
const started = Date.now()
try {
  const [a, b] = await Promise.all(adapters.map(async (adapter) => {
    const stack = new HciStack({ name: 'hci', slotCount: 1, time: hciTime, open: () => openUserChannel(addon, deviceNumber(adapter), suite === 'raw' ? 'raw' : 'user') })
    const side = new Side(adapter, stack)
    const on = side.next('adapter', ({ state }) => state === 'on')
    await stack.begin()
    await on
    return side
  }))
  // Beside the kernel a link lives for two seconds: nothing in the kernel uses it, so it ends it.
  const plan = suite === 'raw' ? { size: 514, total: 0, trips: 5 } : { size: 514, total: 40_000, trips: 50 }
  const first = await exchange(a, b, { ...plan, hint: Uint8Array.of(1, 2, 3, 4, 5, 6) })
  const second = suite === 'raw' ? '' : `; roles changed: ${await exchange(b, a, { ...plan, hint: Uint8Array.of(6, 5, 4, 3, 2, 1) })}`
  await Promise.all([a.backend.close(), b.backend.close()])
  console.log(`PASS ${suite} in ${((Date.now() - started) / 1000).toFixed(1)} s: ${first}${second}`)
  process.exit(0)
} catch (error) {
  console.log(`FAIL ${suite} after ${((Date.now() - started) / 1000).toFixed(1)} s: ${error.stack}`)
  process.exit(1)
}
