import { Command } from 'commander'
import { withTypedUsage } from '../platform/usage-error.ts'
import { version } from '../platform/version.ts'
import { blePower, bleStatus, nearby, type NearbyOptions } from './ble-commands.ts'
import { configCheck, configShow, type ConfigOptions } from './config-commands.ts'
import { down, id, status, up, type UpOptions } from './daemon-commands.ts'
import { accept, invite, join, type InviteOptions, type JoinOptions } from './invite-commands.ts'
import { createKey, listKeys, revokeKey, type KeyOptions } from './keys-commands.ts'
import type { Globals, Output } from './output.ts'
import { pair, type PairOptions } from './pair-command.ts'
import { addPeer, peers, removePeer, renamePeer, type AddOptions } from './peers-commands.ts'
import { netcheck } from './netcheck-command.ts'
import { ping, type PingOptions } from './ping.ts'
import { policy, type PolicyOptions } from './policy-command.ts'
import { listen, send, type SendCommandOptions } from './text-commands.ts'
import { log, type LogOptions } from './log.ts'
import { watch, type WatchOptions } from './watch.ts'
import { why } from './why-command.ts'

/** Runs one command: the one place where results go out and failures are told. */
export type Run = (action: (globals: Globals, output: Output) => Promise<void>) => Promise<void>

const PEER = 'its name, its id, or the beginning of its id'

/** Every command, with its options: what is typed, completed and documented. */
export function makeProgram(run: Run): Command {
  const program = withTypedUsage(new Command('postern'))
    .description('Postern: one encrypted line from programs on this machine to programs on others.')
    .version(version)
    .option('--dir <path>', 'the instance under this directory (also POSTERN_DIR)')
    .option('--json', 'print JSON instead of text: one object a line')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nFirst steps: postern up, postern invite here, postern join <link> there, postern ping <peer>.\nBoth in range of Bluetooth: postern pair on both, at the same time.\nThe daemon in the foreground: posternd')
  addDaemonCommands(program, run)
  addPeerCommands(program, run)
  addLogCommand(program, run)
  addTextCommands(program, run)
  addKeyCommands(program, run)
  return program
}

function addDaemonCommands(program: Command, run: Run): void {
  program.command('up').description('start the daemon in the background')
    .option('--config <file>', 'read this configuration file')
    .option('--port <number>', 'UDP port; 0 draws one at the first start and keeps it')
    .option('--log-level <level>', 'trace, debug, info, warn or error')
    .option('--set <section.key=value...>', 'one configuration key, before the file; may be given several times')
    .action((options: UpOptions) => run((globals, output) => up(globals, options, output)))
  program.command('down').description('stop the daemon, after it delivered what is queued').action(() => run(down))
  program.command('status').description('what the daemon is doing, and everything it counted').action(() => run(status))
  program.command('id').description('the peer id of this node').action(() => run(id))
  program.command('netcheck').description('what this network lets through: UDP, the NATs on the way, STUN servers')
    .option('--lifetime', 'also how long the router keeps a mapping by which nothing goes: takes up to seven minutes')
    .action((options: { readonly lifetime?: true }) => run((globals, output) => netcheck(globals, { lifetime: options.lifetime === true }, output)))
  const ble = program.command('ble').description('Bluetooth of this node')
  ble.command('status').description('whether there is any, why not, and what it is doing').action(() => run(bleStatus))
  ble.command('power').description('how much the radio is used and what that costs; with a mode, set it until the daemon ends').argument('[mode]', 'active, background or saver')
    .action((mode: string | undefined) => run((globals, output) => blePower(globals, mode, output)))
  program.command('nearby').description('who is in range of Bluetooth, the strongest first')
    .option('--watch', 'go on until Ctrl-C')
    .option('-i, --interval <duration>', 'from one look to the next: 1, 0.5, 200ms', '1')
    .action((options: NearbyOptions) => run((globals, output) => nearby(globals, options, output)))
  program.command('pair').description('meet a machine in range, by comparing eight digits; to be run on both')
    .option('--name <name>', 'what to call it')
    .option('--wait <duration>', 'how long to look for it: 30s, 2min', '2min')
    .action((options: PairOptions) => run((globals, output) => pair(globals, options, output)))
  const config = program.command('config').description('check or show the configuration, without a daemon')
  for (const [name, description, action] of [['check', 'whether a daemon could start with it; else everything that is wrong', configCheck], ['show', 'every key, its value, and where it comes from', configShow]] as const) {
    config.command(name).description(description)
      .option('--config <file>', 'this file, instead of the one a daemon would read')
      .option('--set <section.key=value...>', 'as if the daemon were started with it')
      .action((options: ConfigOptions) => run((globals, output) => action(globals, options, output)))
  }
}

function addPeerCommands(program: Command, run: Run): void {
  program.command('invite').description('make a link by which another node can join')
    .option('--uses <number>', 'how many nodes may use it', '1')
    .option('--expires <duration>', 'how long it is good: 30min, 12h, 7d', '24h')
    .option('--name <name>', 'what to call who joins')
    .option('--qr', 'print a QR code of the link, also where nobody looks')
    .option('--no-qr', 'print no QR code, also on a terminal')
    .option('--list', 'list the open invites')
    .option('--revoke <invite>', 'make an invite useless')
    .action((options: InviteOptions) => run((globals, output) => invite(globals, options, output)))
  program.command('join').description('join the node that made this link').argument('<link>')
    .option('--wait <duration>', 'how long to wait for the connection', '10s')
    .option('--qr', 'print a QR code of the reply, also where nobody looks')
    .option('--no-qr', 'print no QR code, also on a terminal')
    .action((link: string, options: JoinOptions) => run((globals, output) => join(globals, link, options, output)))
  program.command('accept').description('take the reply of who joined by an invite of this node but cannot reach it').argument('<reply>')
    .option('--wait <duration>', 'how long to wait for the connection', '30s')
    .action((reply: string, options: { readonly wait?: string }) => run((globals, output) => accept(globals, reply, options, output)))
  const roster = program.command('peers').description('the nodes this one knows; add, remove or rename one').action(() => run(peers))
  roster.command('add').description('put a node into the roster, or give it a name or addresses').argument('<id>', 'its whole id, by `postern id` there')
    .option('--name <name>', 'what to call it')
    .option('--address <address...>', 'where it is: 192.0.2.1:7000, [2001:db8::1]:7000')
    .action((whole: string, options: AddOptions) => run((globals, output) => addPeer(globals, whole, options, output)))
  roster.command('remove').description('take a node out of the roster').argument('<peer>', PEER)
    .action((peer: string) => run((globals, output) => removePeer(globals, peer, output)))
  roster.command('rename').description('give a node another name').argument('<peer>', PEER).argument('<name>')
    .action((peer: string, name: string) => run((globals, output) => renamePeer(globals, peer, name, output)))
  roster.command('policy').description('which kinds of path may lead to a peer: show it, or set it').argument('<peer>', PEER)
    .option('--prefer <kind>', 'udp, tcp or ble, before all others')
    .option('--only <kind>', 'udp, tcp or ble, and nothing else')
    .option('--never <kind...>', 'none of udp, tcp, ble')
    .option('--default', 'as the configuration says')
    .action((peer: string, options: PolicyOptions) => run((globals, output) => policy(globals, peer, options, output)))
  program.command('ping').description('time round trips to a peer').argument('<peer>', PEER)
    .option('-c, --count <number>', 'how many; 0 goes on until Ctrl-C', '5')
    .option('-i, --interval <duration>', 'from one to the next: 1, 0.2, 200ms', '1')
    .option('-w, --deadline <duration>', 'end after so long, however many were sent')
    .action((peer: string, options: PingOptions) => run((globals, output) => ping(globals, peer, options, output)))
  program.command('why').description('which way the traffic with a peer goes, why, and what would help').argument('<peer>', PEER)
    .action((peer: string) => run((globals, output) => why(globals, peer, output)))
  program.command('watch').description('peers and paths, live; q ends it')
    .option('-i, --interval <duration>', 'from one look to the next: 1, 0.2, 200ms', '1')
    .option('--once', 'look once and end')
    .action((options: WatchOptions) => run((globals, output) => watch(globals, options, output)))
}

function addLogCommand(program: Command, run: Run): void {
  program.command('log').description('what the daemon logged lately; with --follow, what it logs from now on too')
    .option('-f, --follow', 'go on with the lines that come, until Ctrl-C')
    .option('-n, --lines <number>', 'so many of the last lines first', '20')
    .option('--level <level>', 'trace, debug, info, warn or error: this one and what is graver', 'info')
    .action((options: LogOptions) => run((globals, output) => log(globals, options, output)))
}

function addTextCommands(program: Command, run: Run): void {
  program.command('send').description('send a text to a peer that listens').argument('<peer>', PEER).argument('<text>')
    .option('--app <name>', 'the app that listens there')
    .option('--mode <mode>', 'reliable-ordered, reliable-unordered, unreliable or latest', 'reliable-ordered')
    .option('--ttl <duration>', 'drop it if it is not sent within this time: 200ms, 5s')
    .action((peer: string, text: string, options: SendCommandOptions) => run((globals, output) => send(globals, peer, text, options, output)))
  program.command('listen').description('print the texts that peers send')
    .option('--app <name>', 'the app to listen as')
    .option('-c, --count <number>', 'end after so many')
    .action((options: { readonly app?: string; readonly count?: string }) => run((globals, output) => listen(globals, options, output)))
}

function addKeyCommands(program: Command, run: Run): void {
  const keys = program.command('keys').description('API keys for programs: make, list or revoke them').action(() => run(listKeys))
  keys.command('create').description('make a key, and show it once')
    .requiredOption('--scope <scope...>', 'what it is good for: status, admin, app:* or app:<name>')
    .option('--name <name>', 'what to call it')
    .action((options: KeyOptions) => run((globals, output) => createKey(globals, options, output)))
  keys.command('list').description('every key, without its text').action(() => run(listKeys))
  keys.command('revoke').description('refuse a key from now on').argument('<key>', 'its id, as the list shows it')
    .action((id: string) => run((globals, output) => revokeKey(globals, id, output)))
}
