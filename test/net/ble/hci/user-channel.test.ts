import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { deviceNumber, loadAddonHci, openUserChannel, type AddonHci } from '../../../../src/net/ble/hci/user-channel.ts'

const built = fileURLToPath(new URL('../../../../native/addon/built/postern.node', import.meta.url))

class FakeAddon implements AddonHci {
  callback: (packet: Uint8Array | number) => void = () => undefined
  readonly written: Uint8Array[] = []
  result = 0
  closes = 0

  hciOpen(_device: number, _kind: number, callback: (packet: Uint8Array | number) => void): object {
    this.callback = callback
    return this
  }

  hciWrite(_channel: object, packet: Uint8Array): number {
    this.written.push(packet)
    return this.result
  }

  hciClose(): void {
    this.closes++
  }
}

test('packets go through, and an end of either side is told once', async () => {
  const addon = new FakeAddon()
  const way = await openUserChannel(addon, 3)
  const [packets, ends]: [Uint8Array[], string[]] = [[], []]
  way.start((packet) => packets.push(packet), (why) => ends.push(why))
  addon.callback(Uint8Array.of(4, 1, 0))
  way.write(Uint8Array.of(1, 3, 12, 0))
  expect([packets, addon.written]).toEqual([[Uint8Array.of(4, 1, 0)], [Uint8Array.of(1, 3, 12, 0)]])
  addon.callback(constants.errno.ENODEV)
  addon.callback(Uint8Array.of(4, 1, 0))
  way.close()
  way.write(Uint8Array.of(1))
  expect([ends, packets.length, addon.written.length, addon.closes]).toEqual([['hci3 is not there: `ls /sys/class/bluetooth` shows which adapters are'], 1, 1, 1])
})

test('what the kernel does not take ends it', async () => {
  const addon = new FakeAddon()
  const way = await openUserChannel(addon, 0)
  const ends: string[] = []
  way.start(() => undefined, (why) => ends.push(why))
  addon.result = constants.errno.ENOMEM
  way.write(Uint8Array.of(1))
  expect(ends).toEqual([])
  await Promise.resolve()
  expect(ends).toEqual(['hci0 failed with ENOMEM: `sudo dmesg | tail` may say more'])
})

test('an error that libuv has no name for is told as what it is', async () => {
  const addon = new FakeAddon()
  const ends: string[] = []
  for (const error of [132, 87]) {
    const way = await openUserChannel(addon, 0)
    way.start(() => undefined, (why) => ends.push(why))
    addon.callback(error)
  }
  expect(ends).toEqual([expect.stringContaining('rfkill unblock'), expect.stringContaining('by another program')])
})

test('what stands in the way is said in words, each its own, with what to type next', async () => {
  const addon = new FakeAddon()
  const said = new Map<string, string>()
  for (const code of ['EPERM', 'EACCES', 'EBUSY', 'EUSERS', 'EALREADY', 'ERFKILL', 'ENODEV', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'ENETDOWN', 'ETIMEDOUT', 'EIO', 'EPIPE', 'ENOMEM']) {
    addon.hciOpen = () => {
      throw Object.assign(new Error(`hciOpen ${code}`), { code })
    }
    const error: unknown = await openUserChannel(addon, 2).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code, message: expect.stringMatching(/^hci2 .*`.+`/) as string })
    said.set(code, (error as Error).message)
  }
  for (const [code, same] of [['EACCES', 'EPERM'], ['EALREADY', 'EUSERS'], ['EPROTONOSUPPORT', 'EAFNOSUPPORT'], ['EIO', 'ETIMEDOUT']] as const) expect(said.get(code)).toBe(said.get(same))
  expect(new Set(said.values()).size).toBe(said.size - 4)
  // A pipe's text holds 400 bytes, and only a switch is said to be one.
  for (const [code, text] of said) expect([text.length < 300, text.includes('rfkill unblock')], code).toEqual([true, code === 'ERFKILL'])
  expect(said.get('EBUSY')).toContain('hciconfig hci2 down')
  expect(() => loadAddonHci(undefined)).toThrow(process.platform === 'linux' ? 'npm run build:native' : 'for Linux')
  expect([deviceNumber(undefined), deviceNumber('hci7')]).toEqual([0, 7])
  expect(() => deviceNumber('eth0')).toThrow('no adapter')
})

test.skipIf(process.platform !== 'linux' || !existsSync(built))('the addon opens what the kernel has, and refuses what is no channel', () => {
  const addon = loadAddonHci(built)
  expect(createRequire(import.meta.url)(built)).toBe(addon)
  let code: unknown
  try {
    addon.hciClose(addon.hciOpen(65_533, 1, () => undefined))
  } catch (error) {
    code = (error as { code?: unknown }).code
  }
  expect(['ENODEV', 'EPERM', 'EAFNOSUPPORT', 'EPROTONOSUPPORT']).toContain(code)
  for (const call of [() => addon.hciWrite({}, Uint8Array.of(1)), () => addon.hciClose({}), () => addon.hciOpen(-1, 1, () => undefined), () => addon.hciOpen(0, 2, () => undefined), () => addon.hciOpen(0, 1, 5 as never)]) expect(call).toThrow(TypeError)
})
