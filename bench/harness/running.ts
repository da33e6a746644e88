import type { ChildProcess } from 'node:child_process'

const running = new Set<ChildProcess>()

/** Keeps an eye on a process of the bench until it ends. */
export function watchProcess(process: ChildProcess): void {
  running.add(process)
  process.once('exit', () => running.delete(process))
}

/** Daemons do not end with their parent, and a hung measurement ends when what it waits for does. */
export function killRunning(): void {
  for (const process of running) process.kill('SIGKILL')
}
