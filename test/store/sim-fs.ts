import { basename, dirname } from 'node:path'
import type { Fs, FsFile, FsStat, OpenMode } from '../../src/store/fs.ts'

/** Granularity in which a disk keeps or loses what was not synced. */
const SECTOR_SIZE = 512

interface Inode {
  content: Uint8Array
  durable: Uint8Array
  mode: number
}

type NameChange = { readonly kind: 'set'; readonly name: string; readonly inode: Inode } | { readonly kind: 'delete'; readonly name: string } | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly inode: Inode }

interface Directory {
  names: Map<string, Inode>
  durable: Map<string, Inode>
  /** Since the last sync of the directory. */
  changes: NameChange[]
}

/** What the power failing at a call looks like to the program: nothing ever works again. */
export class PowerLoss extends Error {
  override readonly name = 'PowerLoss'
}

export function systemError(code: string): Error {
  return Object.assign(new Error(`injected ${code}`), { code })
}

/**
 * A file system in memory that knows what is really on the disk: contents since their fsync, names since the fsync of their
 * directory. `crash` keeps an arbitrary part of what was not synced, names and contents independently, sector by sector, which
 * is more hostile than any journaling file system is.
 */
export class SimFs implements Fs {
  readonly #directories = new Map<string, Directory>()
  /** Everything ever written, to look for secrets in. */
  readonly written: Uint8Array[] = []
  /** Calls that change something (also the failed ones). */
  changeCount = 0
  callCount = 0
  /** The power fails at this call (1 is the first). */
  crashAt: number = Infinity
  openFiles = 0

  constructor(files: Readonly<Record<string, Uint8Array>> = {}, directories: readonly string[] = ['/sim']) {
    for (const path of ['/', ...directories]) this.#directories.set(path, { names: new Map(), durable: new Map(), changes: [] })
    for (const [path, bytes] of Object.entries(files)) {
      const inode = { content: bytes.slice(), durable: bytes.slice(), mode: 0o600 }
      this.#directory(path).names.set(basename(path), inode)
      this.#directory(path).durable.set(basename(path), inode)
    }
  }

  /** Every file as a running system sees it. */
  files(): Record<string, Uint8Array> {
    const files: Record<string, Uint8Array> = {}
    for (const [path, { names }] of this.#directories) {
      for (const [name, inode] of names) files[`${path === '/' ? '' : path}/${name}`] = inode.content
    }
    return files
  }

  setFileMode(path: string, mode: number): void {
    this.#inode(path).mode = mode
  }

  /** The disk after the power came back; `keep` decides, call by call, what of the unsynced part had reached it. */
  crash(keep: () => boolean): SimFs {
    const after = new SimFs({}, [...this.#directories.keys()].filter((path) => path !== '/'))
    for (const [path, directory] of this.#directories) {
      const names = new Map(directory.durable)
      for (const change of directory.changes) {
        if (!keep()) continue
        if (change.kind === 'delete') names.delete(change.name)
        else if (change.kind === 'set') names.set(change.name, change.inode)
        else {
          names.delete(change.from)
          names.set(change.to, change.inode)
        }
      }
      for (const [name, inode] of names) {
        const content = mixSectors(inode, keep)
        after.#directories.get(path)!.names.set(name, { content, durable: content.slice(), mode: inode.mode })
        after.#directories.get(path)!.durable.set(name, after.#directories.get(path)!.names.get(name)!)
      }
    }
    return after
  }

  async open(path: string, mode: OpenMode): Promise<FsFile> {
    this.#call(mode === 'create')
    await turn()
    if (mode === 'directory') {
      const directory = this.#directories.get(path)
      if (directory === undefined) throw systemError('ENOENT')
      return this.#directoryFile(directory)
    }
    const directory = this.#directory(path)
    let inode = directory.names.get(basename(path))
    if (mode === 'read' && inode === undefined) throw systemError('ENOENT')
    if (mode === 'create') {
      if (inode !== undefined) throw systemError('EEXIST')
      inode = { content: new Uint8Array(0), durable: new Uint8Array(0), mode: 0o600 }
      directory.names.set(basename(path), inode)
      directory.changes.push({ kind: 'set', name: basename(path), inode })
    }
    return this.#file(inode!)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#call(true)
    await turn()
    const inode = this.#inode(from)
    const directory = this.#directory(from)
    directory.names.delete(basename(from))
    directory.names.set(basename(to), inode)
    directory.changes.push({ kind: 'rename', from: basename(from), to: basename(to), inode })
  }

  async remove(path: string): Promise<void> {
    this.#call(true)
    await turn()
    this.#inode(path)
    this.#directory(path).names.delete(basename(path))
    this.#directory(path).changes.push({ kind: 'delete', name: basename(path) })
  }

  async list(path: string): Promise<string[]> {
    this.#call(false)
    await turn()
    const directory = this.#directories.get(path)
    if (directory === undefined) throw systemError('ENOENT')
    return [...directory.names.keys()]
  }

  async makeDirectory(path: string): Promise<void> {
    this.#call(true)
    await turn()
    if (this.#directories.has(path)) throw systemError('EEXIST')
    if (!this.#directories.has(dirname(path))) throw systemError('ENOENT')
    this.#directories.set(path, { names: new Map(), durable: new Map(), changes: [] })
  }

  async setMode(): Promise<void> {
    this.#call(true)
    await turn()
  }

  async realPath(path: string): Promise<string> {
    this.#call(false)
    await turn()
    return path
  }

  #call(isChange: boolean): void {
    this.callCount++
    if (isChange) this.changeCount++
    if (this.callCount >= this.crashAt) throw new PowerLoss()
  }

  #directory(path: string): Directory {
    const directory = this.#directories.get(dirname(path))
    if (directory === undefined) throw systemError('ENOENT')
    return directory
  }

  #inode(path: string): Inode {
    const inode = this.#directory(path).names.get(basename(path))
    if (inode === undefined) throw systemError('ENOENT')
    return inode
  }

  #file(inode: Inode): FsFile {
    this.openFiles++
    const stat = (): FsStat => ({ kind: 'file', size: inode.content.length, mode: inode.mode, uid: process.getuid?.() ?? 0 })
    return {
      stat: () => this.#step(false, stat),
      read: (into, position) => this.#step(false, () => {
        const part = inode.content.subarray(position, position + into.length)
        into.set(part)
        return part.length
      }),
      write: (bytes, position) => this.#step(true, () => {
        this.written.push(bytes.slice())
        const content = new Uint8Array(Math.max(inode.content.length, position + bytes.length))
        content.set(inode.content)
        content.set(bytes, position)
        inode.content = content
        return bytes.length
      }),
      sync: () => this.#step(true, () => {
        inode.durable = inode.content.slice()
      }),
      close: () => this.#step(false, () => {
        this.openFiles--
      }),
    }
  }

  #directoryFile(directory: Directory): FsFile {
    this.openFiles++
    return {
      stat: () => this.#step(false, () => ({ kind: 'directory' as const, size: 0, mode: 0o700, uid: process.getuid?.() ?? 0 })),
      read: () => Promise.reject(systemError('EISDIR')),
      write: () => Promise.reject(systemError('EISDIR')),
      sync: () => this.#step(true, () => {
        directory.durable = new Map(directory.names)
        directory.changes = []
      }),
      close: () => this.#step(false, () => {
        this.openFiles--
      }),
    }
  }

  async #step<T>(isChange: boolean, effect: () => T): Promise<T> {
    this.#call(isChange)
    await turn()
    return effect()
  }
}

/** Lets others run in between, as a real system call does. */
function turn(): Promise<void> {
  return Promise.resolve()
}

function mixSectors(inode: Inode, keep: () => boolean): Uint8Array {
  const { content, durable } = inode
  if (content.length === durable.length && Buffer.compare(content, durable) === 0) return content.slice()
  const mixed = new Uint8Array(keep() ? content.length : durable.length)
  mixed.set(durable.subarray(0, mixed.length))
  for (let offset = 0; offset < mixed.length; offset += SECTOR_SIZE) {
    if (keep()) mixed.set(content.subarray(offset, Math.min(offset + SECTOR_SIZE, mixed.length)), offset)
  }
  return mixed
}
