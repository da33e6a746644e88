/** The process of a backend, in between a radio and the daemon: what it passes on of a flood. */
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { BackendCommand, BackendEvent, BleBackend } from '../../../src/net/ble/backend.ts'
import { serveBackend } from '../../../src/net/ble/child.ts'
import { decodeEvent, encodeCommand, MessageReader, type PipeEvent } from '../../../src/net/ble/pipe.ts'

class Backend implements BleBackend {
  readonly name = 'virtual' as const
  readonly commands: BackendCommand[] = []
  tell: (event: BackendEvent) => void = () => undefined

  command(command: BackendCommand): void {
    this.commands.push(command)
  }

  onEvent(handler: (event: BackendEvent) => void): void {
    this.tell = handler
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

describe('a flood of advertisements', () => {
  test('reaches the daemon as a thousand a second; what else happens is told, and a friend among them is heard', async () => {
    const backend = new Backend()
    const heard: PipeEvent[] = []
    const reader = new MessageReader((message) => {
      const event = decodeEvent(message)
      if (event !== undefined) heard.push(event)
      return event !== undefined
    })
    let now = 0
    const pipe = new Duplex({ read: () => undefined, write: (chunk: Buffer, _encoding, done) => { reader.push(chunk); done() } })
    const served = serveBackend(backend, pipe, () => now)
    for (let second = 0; second < 10; second++) {
      for (let n = 0; n < 10_000; n++) {
        now = second * 1000 + n / 10
        const friend = n % 1000 === 37 * second
        backend.tell({ kind: 'seen', address: friend ? 'a friend' : `stranger ${second} ${n}`, rssi: -50, hint: undefined })
        // Let written chunks go: nothing waits in the pipe.
        if (n % 200 === 0) await new Promise(setImmediate)
      }
      backend.tell({ kind: 'closed', link: second, reason: 'gone' })
    }
    await new Promise(setImmediate)
    expect(heard.filter(({ kind }) => kind === 'seen').length).toBe(10 * 1000)
    expect(heard.filter(({ kind }) => kind === 'closed')).toHaveLength(10)
    expect(heard.filter((event) => event.kind === 'seen' && event.address === 'a friend').length).toBeGreaterThan(0)
    pipe.push(encodeCommand({ kind: 'stop' }))
    await served
  })
})
