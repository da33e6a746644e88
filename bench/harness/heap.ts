import { readFileSync } from 'node:fs'

const SHOWN = 30

/** A V8 heap snapshot, as far as it is read here: `nodes` holds the fields of all nodes one after the other. */
interface HeapSnapshot {
  readonly snapshot: { readonly meta: { readonly node_fields: readonly string[]; readonly node_types: readonly [readonly string[], ...unknown[]] } }
  readonly nodes: readonly number[]
  readonly strings: readonly string[]
}

export interface HeapEntry {
  readonly name: string
  readonly count: number
  readonly bytes: number
}

/** What a heap holds, by constructor, most first. Each object counts with its own bytes only. */
export function summarizeHeap(file: string): HeapEntry[] {
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(file, 'utf8')) as HeapSnapshot
  const fields = snapshot.meta.node_fields
  const types = snapshot.meta.node_types[0]
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [number, number, number]
  const sums = new Map<string, { count: number; bytes: number }>()
  for (let at = 0; at < nodes.length; at += fields.length) {
    const kind = types[nodes[at + type]!]!
    // Strings and code are named by their contents.
    const key = kind === 'object' || kind === 'native' || kind === 'closure' ? `${kind} ${strings[nodes[at + name]!]!.slice(0, 60)}` : `(${kind})`
    const sum = sums.get(key) ?? { count: 0, bytes: 0 }
    sum.count++
    sum.bytes += nodes[at + size]!
    sums.set(key, sum)
  }
  return [...sums].map(([key, sum]) => ({ name: key, ...sum })).sort((a, b) => b.bytes - a.bytes)
}

export function printHeap(target: string, file: string, entries: readonly HeapEntry[]): string {
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0)
  return [
    '', `${target}: ${(total / 2 ** 20).toFixed(1)} MiB in its heap (${file})`, '       bytes     count  each  what',
    ...entries.slice(0, SHOWN).map(({ name, count, bytes }) => `${String(bytes).padStart(12)} ${String(count).padStart(9)} ${String(Math.round(bytes / count)).padStart(5)}  ${name}`),
  ].join('\n')
}
