import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { eventCode, hciStatus, opcode } from '../../../../src/core/wire/hci.ts'
import type { BackendEvent } from '../../../../src/net/ble/backend.ts'
import { HciStack } from '../../../../src/net/ble/hci/stack.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { PlayedController, PlayedTime } from './played-controller.ts'

process.setMaxListeners(1000)

const SECOND = 1000
const HOUR = 3600 * SECOND
/** Half a second doubling to thirty, for an hour, and some. */
const OPENS_MAX = 140

interface Opening {
  /** What becomes of the next attempt to open the adapter. */
  next: () => PlayedController
}

/** A stack whose every opening the test plays, on a clock that the test moves. */
class Adapter {
  readonly time = new PlayedTime()
  readonly events: BackendEvent[] = []
  readonly controllers: PlayedController[] = []
  readonly stack: HciStack
  opens = 0
  readonly #opening: Opening

  constructor(first: () => PlayedController) {
    this.#opening = { next: first }
    this.stack = new HciStack({
      name: 'hci', time: this.time, slotCount: 1,
      open: async () => {
        this.opens++
        await Promise.resolve()
        const controller = this.#opening.next()
        this.controllers.push(controller)
        return controller
      },
    })
    this.stack.onEvent((event) => this.events.push(event))
  }

  set opensWith(next: () => PlayedController) {
    this.#opening.next = next
  }

  get states(): string[] {
    return this.events.filter((event) => event.kind === 'adapter').map(({ state }) => state)
  }

  get last(): { readonly state: string; readonly detail: string } {
    const { state, detail } = this.events.filter((event) => event.kind === 'adapter').at(-1)!
    return { state, detail }
  }

  get commandCount(): number {
    return this.controllers.reduce((sum, { commands }) => sum + commands.length, 0)
  }
}

const good = (): PlayedController => new PlayedController()

function failing(code: string): () => PlayedController {
  return () => {
    throw Object.assign(new Error(`hci0 says ${code}`), { code })
  }
}

let adapter: Adapter

afterEach(async () => {
  await Promise.all([adapter.stack.close(), adapter.time.pass(SECOND)])
})

async function start(first: () => PlayedController): Promise<Adapter> {
  adapter = new Adapter(first)
  await adapter.stack.begin()
  adapter.stack.command({ kind: 'advertise', on: true, hint: undefined, pace: 'fast' })
  adapter.stack.command({ kind: 'scan', on: true, pace: 'fast' })
  await adapter.time.pass(0)
  return adapter
}

/** However it was, an adapter that works again does so within the longest pause. */
async function recovers(): Promise<void> {
  adapter.opensWith = good
  await adapter.time.pass(61 * SECOND)
  expect(adapter.last.state).toBe('on')
  const { commands } = adapter.controllers.at(-1)!
  expect(commands.some(({ code, parameters }) => code === opcode.leSetScanEnable && parameters[0] === 1)).toBe(true)
  expect(commands.some(({ code, parameters }) => code === opcode.leSetAdvertisingEnable && parameters[0] === 1)).toBe(true)
}

describe('an adapter that fails for an hour is tried again ever less often, said of, and there again when it works', () => {
  const random = new SeededRandom(7)
  const junk = (): Uint8Array => Uint8Array.from({ length: 1 + random.below(40) }, () => random.below(256))
  const cases: readonly [what: string, first: () => PlayedController, state: string, detail: string][] = [
    ['answers nothing', () => {
      const controller = new PlayedController()
      controller.onCommand = () => undefined
      return controller
    }, 'resetting', 'the adapter does not answer'],
    ['answers garbage', () => {
      const controller = new PlayedController()
      controller.onCommand = () => {
        for (let i = 0; i < 20; i++) controller.later(() => controller.say(junk()))
      }
      return controller
    }, 'resetting', 'the adapter does not answer'],
    ['is out of step from the first byte', () => {
      const controller = new PlayedController()
      controller.onCommand = () => controller.later(() => controller.end('what came from the controller is no HCI'))
      return controller
    }, 'resetting', 'what came from the controller is no HCI'],
    ['takes one command and then no more', () => {
      const controller = new PlayedController()
      controller.onCommand = (code) => controller.later(() => controller.complete(code, 0, new Uint8Array(8), 0))
      return controller
    }, 'resetting', 'the adapter takes no commands'],
    ['refuses everything', () => {
      const controller = new PlayedController()
      controller.onCommand = (code) => controller.later(() => controller.complete(code, hciStatus.hardwareFailure))
      return controller
    }, 'absent', 'the adapter refuses command 0xc03 with 0x3'],
    ['begins and then says that its hardware failed', () => {
      const controller = new PlayedController()
      controller.onCommand = (code, parameters) => {
        if (code === opcode.leSetScanEnable) controller.later(() => controller.event(eventCode.hardwareError, Uint8Array.of(7)))
        else controller.answer(code, parameters)
      }
      return controller
    }, 'resetting', 'the adapter reports an error of its hardware, 0x7'],
    ['fails between the last answer of its beginning and the first use', () => {
      const controller = new PlayedController()
      controller.onCommand = (code, parameters) => {
        controller.answer(code, parameters)
        if (code === opcode.leReadBufferSize) controller.later(() => controller.event(eventCode.hardwareError, Uint8Array.of(9)))
      }
      return controller
    }, 'resetting', 'the adapter reports an error of its hardware, 0x9'],
    ['is not there', failing('ENODEV'), 'absent', 'hci0 says ENODEV'],
    ['is used by another', failing('EBUSY'), 'busy', 'hci0 says EBUSY'],
    ['is another\'s alone', failing('EUSERS'), 'busy', 'hci0 says EUSERS'],
    ['is blocked', failing('ERFKILL'), 'blocked', 'hci0 says ERFKILL'],
    ['may not be used', failing('EPERM'), 'no_permission', 'hci0 says EPERM'],
    ['is down', failing('ENETDOWN'), 'off', 'hci0 says ENETDOWN'],
    ['fails as nobody has foreseen', failing('EIO'), 'resetting', 'hci0 says EIO'],
  ]
  test.each(cases)('%s', async (_, first, state, detail) => {
    await start(first)
    await adapter.time.pass(HOUR)
    expect(adapter.last).toEqual({ state, detail })
    expect(adapter.opens).toBeGreaterThan(100)
    expect(adapter.opens).toBeLessThan(OPENS_MAX)
    // Every timer is one of an opening, and so is every command: nothing turns in a loop.
    expect(adapter.time.fired).toBeLessThan(4 * OPENS_MAX)
    expect(adapter.commandCount).toBeLessThan(20 * OPENS_MAX)
    expect(adapter.time.waiting).toBeLessThan(5)
    expect(adapter.controllers.filter(({ isClosed }) => !isClosed).length).toBeLessThanOrEqual(1)
    await recovers()
  })
})

describe('an adapter that works', () => {
  beforeEach(() => start(good))

  test('and fails after a minute is back in half a second; one that fails again and again is not', async () => {
    for (let i = 0; i < 5; i++) {
      await adapter.time.pass(60 * SECOND)
      adapter.controllers.at(-1)!.event(eventCode.hardwareError, Uint8Array.of(1))
      await adapter.time.pass(SECOND)
      expect(adapter.opens).toBe(2 + i)
    }
    expect(adapter.states).toEqual(['on', ...Array.from({ length: 5 }, () => ['resetting', 'on']).flat()])
    for (let i = 0; i < 5; i++) {
      adapter.controllers.at(-1)!.event(eventCode.hardwareError, Uint8Array.of(1))
      await adapter.time.pass(SECOND)
    }
    expect(adapter.opens).toBeLessThan(10)
  })

  test('stops taking commands in the middle: it is noticed, though nothing is unanswered', async () => {
    const controller = adapter.controllers[0]!
    controller.onCommand = (code) => controller.later(() => controller.complete(code, 0, new Uint8Array(0), 0))
    adapter.stack.command({ kind: 'scan', on: true, pace: 'slow' })
    await adapter.time.pass(3 * SECOND)
    expect(adapter.events.filter((event) => event.kind === 'adapter').map(({ detail }) => detail)).toContain('the adapter takes no commands')
    await recovers()
  })

  test('a stack that is closed while its adapter begins gives it back', async () => {
    const controller = new PlayedController()
    controller.onCommand = () => undefined
    adapter.opensWith = () => controller
    adapter.controllers[0]!.end('pulled out')
    await adapter.time.pass(SECOND)
    expect(controller.commands).toHaveLength(1)
    controller.onCommand = undefined
    await adapter.stack.close()
    controller.answer(opcode.reset, new Uint8Array(0))
    await adapter.time.pass(5 * SECOND)
    expect(controller.isClosed).toBe(true)
    expect(adapter.last.state).toBe('resetting')
  })
})
