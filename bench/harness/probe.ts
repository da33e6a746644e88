/**
 * Loaded into a process under measurement with `--import`: answers requests on a socket of its own, so that the program itself is the
 * one that ships. One line of JSON each way. Nothing happens in it until it is asked.
 */
import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { getHeapSpaceStatistics, getHeapStatistics, writeHeapSnapshot } from 'node:v8'
import type { ProbeRequest, ProbeResult } from './probe-client.ts'

const session = new Session()

function post(method: string, parameters: object = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    session.post(method, parameters, (error, result) => {
      if (error === null) resolve(result)
      else reject(error)
    })
  })
}

async function handle(request: ProbeRequest): Promise<ProbeResult> {
  switch (request.kind) {
    case 'memory': {
      // Once for what is garbage, once for what was freed by finalizers of the first.
      if (request.collect) for (let i = 0; i < 3; i++) globalThis.gc?.()
      const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage()
      const young = getHeapSpaceStatistics().filter(({ space_name: name }) => name.startsWith('new_')).reduce((sum, { physical_space_size: size }) => sum + size, 0)
      return { heapUsed, heapTotal, external, arrayBuffers, young, mallocedMemory: getHeapStatistics().malloced_memory }
    }
    case 'profile-start':
      session.connect()
      await post('Profiler.enable')
      await post('Profiler.setSamplingInterval', { interval: request.intervalUs })
      await post('Profiler.start')
      return {}
    case 'profile-stop': {
      const { profile } = (await post('Profiler.stop')) as { readonly profile: object }
      session.disconnect()
      writeFileSync(request.file, JSON.stringify(profile))
      return {}
    }
    case 'heap':
      writeHeapSnapshot(request.file)
      return {}
  }
}

const path = decodeURIComponent(new URL(import.meta.url).search.slice(1))
if (path !== '') {
  const server = createServer((socket) => {
    socket.unref()
    createInterface({ input: socket }).on('line', (line) => {
      handle(JSON.parse(line) as ProbeRequest)
        .catch((error: unknown) => ({ error: String(error) }))
        .then((result) => socket.write(`${JSON.stringify(result)}\n`), () => undefined)
    })
    socket.on('error', () => socket.destroy())
  })
  server.listen(path)
  server.unref()
}
