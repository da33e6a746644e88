import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Lab, whyNoFilters, whyNoNamespaces, type Namespace } from '../lab/namespaces.ts'
import { until } from './support/daemon.ts'
import { Program, finish, run, type Outcome } from './support/program.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const why = whyNoNamespaces()

/** The command line on one machine of the lab, with a state directory of its own: namespaces share the file system. */
class Host {
  readonly #machine: Namespace
  readonly #dir: string

  constructor(machine: Namespace, dir: string) {
    this.#machine = machine
    this.#dir = dir
  }

  get options(): { readonly env: Readonly<Record<string, string>>; readonly prefix: readonly string[] } {
    return { env: { POSTERN_DIR: this.#dir }, prefix: this.#machine.prefix }
  }

  async postern(...args: readonly string[]): Promise<string> {
    const { status, out, err } = await this.try(...args)
    if (status !== 0) throw new Error(`postern ${args.join(' ')} on ${this.#machine.address}: ${status ?? 'signal'}\n${out}${err}`)
    return out
  }

  async try(...args: readonly string[]): Promise<Outcome> {
    return await run('postern', args, this.options)
  }

  start(name: 'postern' | 'posternd', ...args: readonly string[]): Program {
    return Program.start(name, args, this.options)
  }
}

describe.skipIf(why !== undefined)(`two machines with a network between them${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('pair by an invite link and exchange messages, on embedded defaults', async () => {
    using lab = new Lab(2)
    using temporary = new TemporaryDirectory()
    const [here, there] = lab.machines.map((machine, i) => new Host(machine, temporary.join(`${i}`))) as [Host, Host]
    await using first = here.start('posternd')
    await using second = there.start('posternd')
    await first.says(/\bready\b/)
    await second.says(/\bready\b/)

    const link = /^postern:\S+$/m.exec(await here.postern('invite'))![0]
    expect(await there.postern('join', link)).toMatch(/Connected to/)
    const [hereId, thereId] = [(await here.postern('id')).trim(), (await there.postern('id')).trim()]
    expect(await here.postern('peers')).toMatch(new RegExp(`${thereId}.*connected.*udp ${lab.machines[1]!.address}:`))

    await using hears = here.start('postern', 'listen', '--count', '1')
    await hears.says(/listening/)
    expect(await there.postern('send', hereId, 'over the wall')).toMatch(/^Sent 13 bytes/)
    expect((await finish(hears)).out).toMatch(/: over the wall\n/)
    await using answers = there.start('postern', 'listen', '--count', '1')
    await answers.says(/listening/)
    await here.postern('send', thereId, 'and back')
    expect((await finish(answers)).out).toMatch(/: and back\n/)
    expect(await there.postern('ping', hereId, '--count', '3', '--interval', '0.05')).toMatch(/3 sent, 3 answered/)
  }, 60_000)

  it('lose nothing while the cable is out', async () => {
    using lab = new Lab(2)
    using temporary = new TemporaryDirectory()
    const [here, there] = lab.machines.map((machine, i) => new Host(machine, temporary.join(`${i}`))) as [Host, Host]
    await using first = here.start('posternd')
    await using second = there.start('posternd')
    await first.says(/\bready\b/)
    await second.says(/\bready\b/)
    await there.postern('join', /^postern:\S+$/m.exec(await here.postern('invite'))![0])
    const id = (await here.postern('id')).trim()
    await using hears = here.start('postern', 'listen', '--count', '1')
    await hears.says(/listening/)

    const cut = lab.machines[1]!
    cut.link('down')
    await using sending = there.start('postern', 'send', id, 'patience')
    await sleep(1000)
    expect(hears.out).not.toContain('patience')
    cut.link('up')
    expect((await finish(sending)).out).toMatch(/^Sent 8 bytes/)
    expect((await finish(hears)).out).toMatch(/: patience\n/)
  }, 60_000)
})

const whyNot = whyNoFilters()

describe.skipIf(whyNot !== undefined)(`two machines whose firewalls let in only answers${whyNot === undefined ? '' : ` (skipped: ${whyNot})`}`, () => {
  it('find no way by an invite alone, and one by its reply', async () => {
    using lab = new Lab(2)
    using temporary = new TemporaryDirectory()
    for (const machine of lab.machines) machine.filter('iifname "eth0" ct state new drop')
    const [here, there] = lab.machines.map((machine, i) => new Host(machine, temporary.join(`${i}`))) as [Host, Host]
    await using first = here.start('posternd')
    await using second = there.start('posternd')
    await first.says(/\bready\b/)
    await second.says(/\bready\b/)

    const invite = /^postern:\S+$/m.exec(await here.postern('invite'))![0]
    const joined = await there.postern('join', invite, '--wait', '2s')
    expect(joined).toMatch(/does not answer yet/)
    const reply = /^postern:r1\/\S+$/m.exec(joined)![0]
    const [wrongNode, wrongCommand] = [await there.try('accept', reply), await here.try('join', reply)]
    expect(wrongNode.err).toContain('is to an invite that this node does not have')
    expect(wrongCommand.err).toContain('postern accept')
    expect([wrongNode.status, wrongCommand.status]).toEqual([64, 64])
    expect(await here.postern('accept', reply)).toMatch(/Connected to/)
    const thereId = (await there.postern('id')).trim()
    expect(await here.postern('peers')).toMatch(new RegExp(`${thereId}.*connected.*udp ${lab.machines[1]!.address}:`))
    expect(await here.postern('ping', thereId, '--count', '1')).toMatch(/1 answered/)
  }, 60_000)

  it('find each other by one that both know', async () => {
    using lab = new Lab(3)
    using temporary = new TemporaryDirectory()
    const [here, there, friend] = lab.machines.map((machine, i) => new Host(machine, temporary.join(`${i}`))) as [Host, Host, Host]
    for (const machine of lab.machines.slice(0, 2)) machine.filter('iifname "eth0" ct state new drop')
    await using first = here.start('posternd')
    await using second = there.start('posternd')
    await using third = friend.start('posternd')
    for (const daemon of [first, second, third]) await daemon.says(/\bready\b/)
    const invite = /^postern:\S+$/m.exec(await friend.postern('invite', '--uses', '2'))![0]
    for (const host of [here, there]) expect(await host.postern('join', invite)).toMatch(/Connected to/)
    const [hereId, thereId] = [(await here.postern('id')).trim(), (await there.postern('id')).trim()]
    await here.postern('peers', 'add', thereId)
    // Neither knows where the other is: one is told when it asks, the other because it was asked for.
    const alone = await here.try('ping', thereId, '--count', '1')
    expect(alone.status).not.toBe(0)
    await there.postern('peers', 'add', hereId)
    await until(async () => (await here.try('ping', thereId, '--count', '1')).status === 0, 'the introduction', 40_000)
    expect(await there.postern('peers')).toMatch(new RegExp(`${hereId}.*connected.*udp ${lab.machines[0]!.address}:`))
  }, 90_000)
})
