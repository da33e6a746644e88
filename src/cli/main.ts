#!/usr/bin/env node
import { Command } from 'commander'
import { down, id, status, up, type UpOptions } from './daemon-commands.ts'
import { exitStatus } from '../core/base/exit-status.ts'
import { Output, printError, type Globals } from './output.ts'
import { invite, join, peers, ping, type InviteOptions } from './peer-commands.ts'
import { listen, send } from './text-commands.ts'
import { version } from '../platform/version.ts'

const program = new Command('postern')
  .description('Postern: one encrypted line from programs on this machine to programs on others.')
  .version(version)
  .option('--dir <path>', 'the instance under this directory (also POSTERN_DIR)')
  .option('--json', 'print one JSON object instead of text')
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(postern --help lists the commands)')
  .addHelpText('after', '\nFirst steps: postern up, postern invite here, postern join <link> there, postern ping <peer>.\nThe daemon in the foreground: posternd')

/** One command: its failure is printed in one place, and sets the exit status. */
function run(action: (globals: Globals, output: Output) => Promise<void>): Promise<void> {
  const globals = program.opts<Globals>()
  return action(globals, new Output(globals)).catch((error: unknown) => {
    process.exitCode = exitStatus(printError(error, globals.json === true).code)
  })
}

program.command('up').description('start the daemon in the background')
  .option('--config <file>', 'read this configuration file')
  .option('--port <number>', 'UDP port; 0 draws one at the first start and keeps it')
  .option('--log-level <level>', 'trace, debug, info, warn or error')
  .option('--set <section.key=value...>', 'one configuration key, before the file; may be given several times')
  .action((options: UpOptions) => run((globals, output) => up(globals, options, output)))
program.command('down').description('stop the daemon, after it delivered what is queued').action(() => run(down))
program.command('status').description('what the daemon is doing, and everything it counted').action(() => run(status))
program.command('id').description('the peer id of this node').action(() => run(id))
program.command('invite').description('make a link by which another node can join')
  .option('--uses <number>', 'how many nodes may use it', '1')
  .option('--expires <duration>', 'how long it is good: 30min, 12h, 7d', '24h')
  .option('--name <name>', 'what to call who joins')
  .option('--list', 'list the open invites')
  .option('--revoke <invite>', 'make an invite useless')
  .action((options: InviteOptions) => run((globals, output) => invite(globals, options, output)))
program.command('join').description('join the node that made this link').argument('<link>')
  .option('--wait <duration>', 'how long to wait for the connection', '10s')
  .action((link: string, options: { readonly wait?: string }) => run((globals, output) => join(globals, link, options, output)))
program.command('peers').description('the nodes this one knows').action(() => run(peers))
program.command('ping').description('time round trips to a peer').argument('<peer>', 'its name, its id, or the beginning of its id')
  .option('-c, --count <number>', 'how many', '5')
  .option('-i, --interval <seconds>', 'pause between them', '1')
  .action((peer: string, options: { readonly count?: string; readonly interval?: string }) => run((globals, output) => ping(globals, peer, options, output)))
program.command('send').description('send a text to a peer that listens').argument('<peer>').argument('<text>')
  .option('--app <name>', 'the app that listens there')
  .action((peer: string, text: string, options: { readonly app?: string }) => run((globals, output) => send(globals, peer, text, options, output)))
program.command('listen').description('print the texts that peers send')
  .option('--app <name>', 'the app to listen as')
  .option('-c, --count <number>', 'end after so many')
  .action((options: { readonly app?: string; readonly count?: string }) => run((globals, output) => listen(globals, options, output)))

await program.parseAsync()
