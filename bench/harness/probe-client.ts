import { connect } from 'node:net'
import { createInterface } from 'node:readline'

export type ProbeRequest =
  /** With `collect`, after full collections. */
  | { readonly kind: 'memory'; readonly collect: boolean }
  | { readonly kind: 'profile-start'; readonly intervalUs: number }
  /** Writes a `.cpuprofile`. */
  | { readonly kind: 'profile-stop'; readonly file: string }
  /** Writes a `.heapsnapshot`; collects first. */
  | { readonly kind: 'heap'; readonly file: string }

export type ProbeResult = Readonly<Record<string, number | string>>

export interface HeapUse {
  readonly heapUsed: number
  readonly external: number
  readonly arrayBuffers: number
  /** Resident bytes of the young generation: its size follows how fast something is allocated, not what is kept. */
  readonly young: number
}

/** Arguments of `node` that load the probe into the program after them. */
export function probeArguments(socket: string): string[] {
  return ['--expose-gc', '--import', probeModule(socket)]
}

/** The socket's name travels as the query of the module's URL: an environment variable would be seen by every child. */
function probeModule(socket: string): string {
  return `${new URL('./probe.js', import.meta.url).href}?${encodeURIComponent(socket)}`
}

/** Asks the probe of a process, by a connection of its own. */
export function askProbe(socket: string, request: ProbeRequest): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket, () => connection.write(`${JSON.stringify(request)}\n`))
    connection.on('error', reject)
    connection.on('close', () => reject(new Error('The probe closed the connection.')))
    createInterface({ input: connection }).on('line', (line) => {
      const result = JSON.parse(line) as ProbeResult
      if (typeof result['error'] === 'string') reject(new Error(result['error']))
      else resolve(result)
      connection.destroy()
    })
  })
}

export async function heapOf(socket: string, collect: boolean): Promise<HeapUse> {
  const { heapUsed, external, arrayBuffers, young } = await askProbe(socket, { kind: 'memory', collect })
  return { heapUsed: Number(heapUsed), external: Number(external), arrayBuffers: Number(arrayBuffers), young: Number(young) }
}
