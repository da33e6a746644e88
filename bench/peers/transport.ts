/**
 * What the bench asks of everything it compares: Postern itself, the machine's own sockets, and the libraries of bench/package.json,
 * whose modules are plain JavaScript (`*.mjs`), so that this compiles where they are not installed. A module is as thin as can be:
 * what it does beyond calling its library would be measured as the library's.
 */
export interface Pipe {
  /** Whether there is room for more; if not, {@link onWritable} says when. The bytes were taken either way, and may be sent again. */
  send(bytes: Uint8Array): boolean
  /** Calls back once. */
  onWritable(callback: () => void): void
  /** Bytes are the callee's during the call. Set once, before anything can have come. */
  onData(callback: Take): void
  close(): void
}

export type Take = (bytes: Uint8Array, offset: number, length: number) => void

export type PipeKind = 'reliable' | 'unreliable'

/** A line between the two ends for libraries that leave signalling to the application. */
export interface Signals {
  send(value: unknown): void
  on(callback: (value: never) => void): void
}

export interface Transport {
  /** One `send` is one call of `onData` on the other side; else messages are length-prefixed. */
  readonly keepsMessages: boolean
  /** Resolves with what `dial` needs to know, as JSON. */
  listen(accept: (pipe: Pipe) => void, signals: Signals): Promise<unknown>
  /** A new connection each time, authenticated and encrypted as the library does it. */
  dial(address: never, kind: PipeKind, signals: Signals): Promise<Pipe>
  /** Datagrams sent so far, where that is told. */
  readonly packets?: () => number
}

export interface TransportModule {
  readonly open: (options: Readonly<Record<string, unknown>>) => Transport | Promise<Transport>
}
