import type { Figures, MetricName } from './metrics.ts'

/** A build of the daemon to measure. Several of them are measured in turn within one run, so that they can be compared. */
export interface DaemonBuild {
  readonly name: string
  /** Its `posternd`, an absolute path. */
  readonly main: string
}

export interface Settings {
  /** Repetitions, interleaved over all cases. */
  readonly rounds: number
  /** Of measuring, per repetition and subject. */
  readonly seconds: number
  /** Seconds to wait for a quiet machine before each measurement; 0 = take it as it is. */
  readonly patience: number
  /** Smaller everywhere: to see that everything runs. Its figures are not for quoting. */
  readonly quick: boolean
  readonly builds: readonly DaemonBuild[]
}

/** What one process did for the figures beside it. */
export interface ProcessUse {
  readonly name: string
  /** Share of one core. */
  readonly cores: number
  /** Nanoseconds of CPU per unit of work (message, handshake); `undefined` where there is none. */
  readonly nsPerUnit?: number
  readonly residentMiB?: number
}

/** One measurement of one subject. */
export interface Sample {
  readonly figures: Figures
  readonly processes?: readonly ProcessUse[]
  /** What was counted beside: losses, drops, cookies. Added up over the rounds. */
  readonly counts?: Readonly<Record<string, number>>
  /** Something over time: a row per reading, the first column in seconds. */
  readonly series?: { readonly columns: readonly string[]; readonly rows: readonly (readonly number[])[] }
  /** What the reader has to know to understand the figures. */
  readonly notes?: readonly string[]
}

export interface Goal {
  readonly metric: MetricName
  readonly atLeast?: number
  readonly atMost?: number
}

/** What is measured within a case: a build of ours, a way of doing it; later, a peer or the machine's limit. */
export interface Subject {
  readonly name: string
  /** Empty for what is only printed beside. */
  readonly goals?: readonly Goal[]
  readonly measure: (tools: Tools) => Promise<Sample>
}

export interface BenchCase {
  readonly name: string
  /** What is measured, in one line. */
  readonly title: string
  /** The figure of the table. */
  readonly headline: MetricName
  /** Bytes of a message, where there are messages. */
  readonly messageSize?: number
  /** Takes so long that it is measured in the first round only. */
  readonly once?: boolean
  readonly subjects: (settings: Settings) => readonly Subject[]
}

/** What a measurement gets from the harness. */
export interface Tools {
  readonly settings: Settings
  /** An empty directory, removed afterwards. */
  readonly directory: string
  /** Says on the terminal what is going on now. */
  readonly progress: (text: string) => void
  /** With `--profile`: processes are started with the probe, and are profiled while they are measured. */
  readonly profiler: Profiler | undefined
}

export interface Profiler {
  /** Runs `work` while all processes are sampled. */
  readonly during: (targets: readonly ProfileTarget[], work: () => Promise<void>) => Promise<void>
  /** Sums up what their heaps hold now. */
  readonly heap: (targets: readonly ProfileTarget[]) => Promise<void>
}

export interface ProfileTarget {
  readonly name: string
  /** Socket of its probe. */
  readonly probe: string
}

/** A figure that this machine cannot give; the message says why. Not a failure of the bench. */
export class Unmeasurable extends Error {}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
