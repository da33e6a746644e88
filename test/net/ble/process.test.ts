import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import type { BackendEvent } from '../../../src/net/ble/backend.ts'
import { decodeCommand, encodeEvent, MessageReader, type PipeCommand, type PipeEvent } from '../../../src/net/ble/pipe.ts'
import { BackendProcess, type Child, type ProcessSystem } from '../../../src/net/ble/process.ts'

/** A machine whose time moves when a test says so. */
class Machine implements ProcessSystem {
  readonly children: FakeChild[] = []
  #now = 0
  #timers: { readonly at: number; readonly run: () => void }[] = []

  get child(): FakeChild {
    return this.children.at(-1)!
  }

  /** It has no room for a process. */
  full = false

  spawn(): Child {
    if (this.full) throw new Error('no descriptors are left')
    this.children.push(new FakeChild())
    return this.child
  }

  now(): number {
    return this.#now
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const timer = { at: this.#now + milliseconds, run }
    this.#timers.push(timer)
    return timer
  }

  clearTimeout(handle: unknown): void {
    this.#timers = this.#timers.filter((timer) => timer !== handle)
  }

  random(): number {
    return 0.5
  }

  get timers(): number {
    return this.#timers.length
  }

  /** Runs what is due within so many milliseconds. */
  pass(milliseconds: number): void {
    const end = this.#now + milliseconds
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#now = next.at
      this.clearTimeout(next)
      next.run()
    }
    this.#now = end
  }
}

class FakeChild implements Child {
  readonly commands: PipeCommand[] = []
  killed = false
  /** Answers pings. */
  awake = true
  /** Reads what is written to it. */
  reads = true
  readonly #reader = new MessageReader((message) => {
    const command = decodeCommand(message)!
    if (command.kind === 'ping') {
      if (this.awake) this.say({ kind: 'pong' })
    } else this.commands.push(command)
    return true
  })
  readonly pipe: Duplex = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array, _encoding, done) => {
      if (!this.reads) return
      this.#reader.push(chunk)
      done()
    },
  })
  #handler: ((how: string) => void) | undefined

  onExit(handler: (how: string) => void): void {
    this.#handler = handler
  }

  kill(): void {
    this.killed = true
    this.exit('was ended by SIGKILL')
  }

  exit(how: string): void {
    this.#handler?.(how)
    this.#handler = undefined
  }

  say(event: PipeEvent): void {
    this.pipe.emit('data', Buffer.from(encodeEvent(event)))
  }
}

function started(): { readonly machine: Machine; readonly backend: BackendProcess; readonly events: BackendEvent[] } {
  const machine = new Machine()
  const backend = new BackendProcess({ name: 'virtual' }, machine)
  const events: BackendEvent[] = []
  backend.onEvent((event) => events.push(event))
  backend.start()
  return { machine, backend, events }
}

test('nothing is started before it is needed, and one process only', () => {
  const machine = new Machine()
  const backend = new BackendProcess({ name: 'hci' }, machine)
  backend.command({ kind: 'scan', on: true, pace: 'fast' })
  expect(machine.children).toHaveLength(0)
  backend.start()
  backend.start()
  expect(machine.children).toHaveLength(1)
})

test('commands reach it, events come from it, those before the first listener too', () => {
  const machine = new Machine()
  const backend = new BackendProcess({ name: 'virtual' }, machine)
  backend.start()
  machine.child.say({ kind: 'adapter', state: 'on', detail: 'here' })
  const events: BackendEvent[] = []
  backend.onEvent((event) => events.push(event))
  backend.command({ kind: 'scan', on: true, pace: 'slow' })
  expect(events).toEqual([{ kind: 'adapter', state: 'on', detail: 'here' }])
  expect(machine.child.commands).toEqual([{ kind: 'scan', on: true, pace: 'slow' }])
})

test('a crash ends its links and dials, for its reason, and another process is started a second later', () => {
  const { machine, backend, events } = started()
  machine.child.say({ kind: 'opened', link: 4, role: 'central', address: 'x', mtu: 185 })
  machine.child.say({ kind: 'opened', link: 5, role: 'peripheral', address: 'y', mtu: 185 })
  machine.child.say({ kind: 'closed', link: 5, reason: 'gone' })
  backend.command({ kind: 'connect', address: 'z', timeoutMs: 8000 })
  events.length = 0
  machine.child.exit('ended with code 1 (TypeError: no)')
  const reason = 'the process of the backend virtual ended with code 1 (TypeError: no)'
  expect(events).toEqual([{ kind: 'connectFailed', address: 'z', reason }, { kind: 'closed', link: 4, reason }, { kind: 'adapter', state: 'resetting', detail: reason }])
  machine.pass(999)
  expect(machine.children).toHaveLength(1)
  machine.pass(1)
  expect(machine.children).toHaveLength(2)
  machine.child.exit('again')
  expect(events.filter(({ kind }) => kind === 'closed')).toHaveLength(1)
})

test('each failure waits twice as long, the tenth is the last; nothing turns while it waits', () => {
  const { machine, events } = started()
  const starts: number[] = []
  for (let n = 1; n < 10; n++) {
    const before = machine.now()
    machine.child.exit('ended with code 7')
    expect(machine.timers).toBe(1)
    while (machine.children.length === n) machine.pass(500)
    starts.push((machine.now() - before) / 1000)
  }
  expect(starts).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256])
  machine.child.exit('ended with code 7')
  expect(events.at(-1)).toMatchObject({ kind: 'adapter', state: 'absent', detail: expect.stringContaining('not started again') as string })
  expect(machine.timers).toBe(0)
})

test('after the last failure it is begun anew when that is asked, with the whole patience again', () => {
  const { machine, backend, events } = started()
  for (let n = 1; n < 10; n++) {
    machine.child.exit('ended with code 7')
    while (machine.children.length === n) machine.pass(500)
  }
  machine.child.exit('ended with code 7')
  expect([backend.over, machine.children.length]).toEqual(['failed', 10])
  backend.reopen({ name: 'hci' })
  expect([backend.over, backend.name, machine.children.length]).toEqual([undefined, 'hci', 11])
  machine.child.exit('ended with code 7')
  expect(events.at(-1)).toMatchObject({ state: 'resetting' })
  machine.pass(1000)
  expect(machine.children).toHaveLength(12)
})

test('another backend begins when the child of the first has given its adapter back, or after three seconds', () => {
  const { machine, backend, events } = started()
  machine.child.say({ kind: 'opened', link: 4, role: 'central', address: 'x', mtu: 185 })
  backend.reopen({ name: 'hci' })
  backend.reopen({ name: 'hci' })
  expect(machine.child.commands).toEqual([{ kind: 'stop' }])
  expect(machine.children).toHaveLength(1)
  machine.child.exit('ended with code 0')
  expect(machine.children).toHaveLength(2)
  const why = 'the backend hci is being started'
  expect(events.slice(-2)).toEqual([{ kind: 'closed', link: 4, reason: why }, { kind: 'adapter', state: 'resetting', detail: why }])
  expect(backend.failures).toBe(0)
  backend.reopen({ name: 'bluez' })
  machine.pass(3000)
  expect(machine.children[1]!.killed).toBe(true)
  expect(machine.children).toHaveLength(3)
})

test('one that lived for a minute starts the count afresh', () => {
  const { machine, backend } = started()
  for (let n = 0; n < 30; n++) {
    machine.pass(61_000)
    machine.child.exit('crashed')
    expect(backend.failures).toBe(1)
    machine.pass(1000)
  }
  expect(machine.children).toHaveLength(31)
})

test('what can never work here is not started again, and says why', () => {
  const { machine, events } = started()
  machine.child.say({ kind: 'fault', code: 'unsupported', detail: 'the package is not installed' })
  machine.child.exit('ended with code 0')
  expect(events.at(-1)).toEqual({ kind: 'adapter', state: 'absent', detail: 'the package is not installed' })
  machine.pass(1e7)
  expect(machine.children).toHaveLength(1)
})

test('a process that turns no more, or says what is no event, is ended', () => {
  const { machine } = started()
  machine.pass(300_000)
  expect(machine.children).toHaveLength(1)
  machine.child.awake = false
  machine.pass(70_000)
  expect(machine.children[0]!.killed).toBe(true)
  machine.pass(1000)
  machine.child.pipe.emit('data', Buffer.from([1, 0, 0x77]))
  expect(machine.children[1]!.killed).toBe(true)
})

test('one that cannot even be started is a failure like any other', () => {
  const { machine, backend, events } = started()
  machine.full = true
  machine.child.exit('crashed')
  machine.pass(3500)
  expect(backend.failures).toBe(3)
  expect(events.at(-1)).toEqual({ kind: 'adapter', state: 'resetting', detail: 'the process of the backend virtual could not be started: no descriptors are left' })
  machine.full = false
  machine.pass(4000)
  expect(machine.children).toHaveLength(2)
  machine.child.say({ kind: 'adapter', state: 'on', detail: '' })
  expect(events.at(-1)).toEqual({ kind: 'adapter', state: 'on', detail: '' })
})

test('links that cannot be, and dials that are never answered, end it: nothing is remembered without end', () => {
  const opened = (link: number): PipeEvent => ({ kind: 'opened', link, role: 'peripheral', address: 'x', mtu: 185 })
  const twice = started()
  twice.machine.child.say(opened(4))
  twice.machine.child.say(opened(4))
  expect(twice.machine.child.killed).toBe(true)
  expect(twice.events.filter(({ kind }) => kind === 'opened' || kind === 'closed')).toHaveLength(2)
  const many = started()
  for (let link = 1; link <= 64; link++) many.machine.child.say(opened(link))
  expect(many.machine.child.killed).toBe(false)
  many.machine.child.say(opened(65))
  expect(many.machine.child.killed).toBe(true)
  const mute = started()
  for (let n = 0; n < 65; n++) mute.backend.command({ kind: 'connect', address: `${n}`, timeoutMs: 8000 })
  expect(mute.machine.child.killed).toBe(true)
  expect(mute.events.filter(({ kind }) => kind === 'connectFailed')).toHaveLength(65)
})

test('a process that reads nothing holds no more than a bound', () => {
  const { machine, backend } = started()
  machine.child.reads = false
  for (let n = 0; n < 2000 && machine.children.length === 1 && !machine.child.killed; n++) backend.command({ kind: 'send', link: 1, value: new Uint8Array(514) })
  expect(machine.children[0]!.killed).toBe(true)
  expect(machine.children[0]!.pipe.writableLength).toBeLessThan(300_000)
})

test('closing says stop and waits for the end, three seconds at most; while it rests it only forgets', async () => {
  const { machine, backend, events } = started()
  const closing = backend.close()
  expect(machine.child.commands).toEqual([{ kind: 'stop' }])
  machine.pass(3000)
  expect(machine.child.killed).toBe(true)
  await closing
  expect(events).toEqual([])
  const resting = started()
  resting.machine.child.exit('x')
  await resting.backend.close()
  expect(resting.machine.timers).toBe(0)
})

test('a dial while it does not run fails, later', async () => {
  const { machine, backend, events } = started()
  machine.child.exit('x')
  events.length = 0
  backend.command({ kind: 'connect', address: 'a', timeoutMs: 1 })
  expect(events).toEqual([])
  await new Promise((resolve) => setImmediate(resolve))
  expect(events).toMatchObject([{ kind: 'connectFailed', address: 'a' }])
})
