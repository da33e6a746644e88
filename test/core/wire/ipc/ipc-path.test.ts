import { describe, expect, it } from 'vitest'
import { checkSocketPath, ipcPathOf, ipcPaths } from '../../../../src/core/wire/ipc/ipc-path.ts'

const linux = { platform: 'linux', uid: 1000 }
const sockets = (environment: Parameters<typeof ipcPaths>[0]): string[] => ipcPaths(environment).map(({ socket }) => socket)

describe('where the socket is', () => {
  it('is looked for in the session, the system and the temporary directory', () => {
    expect(sockets({ ...linux, env: { XDG_RUNTIME_DIR: '/run/user/1000' } }))
      .toEqual(['/run/user/1000/postern/postern.sock', '/run/postern/postern.sock', '/tmp/postern-1000/postern.sock'])
    expect(sockets({ ...linux, env: { TMPDIR: '/var/tmp/' } })).toEqual(['/run/postern/postern.sock', '/var/tmp/postern-1000/postern.sock'])
    expect(sockets({ ...linux, env: { XDG_RUNTIME_DIR: '', TMPDIR: '' } })).toEqual(['/run/postern/postern.sock', '/tmp/postern-1000/postern.sock'])
  })

  it('is one place when a directory was named', () => {
    expect(sockets({ ...linux, env: { POSTERN_DIR: '/srv/a', XDG_RUNTIME_DIR: '/run/user/1000' } })).toEqual(['/srv/a/run/postern.sock'])
    expect(sockets({ ...linux, dir: '/srv/b/', env: { POSTERN_DIR: '/srv/a' } })).toEqual(['/srv/b/run/postern.sock'])
  })

  it('is a pipe on Windows', () => {
    expect(sockets({ platform: 'win32', uid: 0, env: {} })).toEqual(['\\\\.\\pipe\\postern'])
    expect(sockets({ platform: 'win32', uid: 0, env: {}, dir: 'C:\\Games\\A' })).toEqual(['\\\\.\\pipe\\postern-c__games_a'])
  })

  it('is refused when the system would cut it', () => {
    const path = (length: number): ReturnType<typeof ipcPathOf> => ipcPathOf(`/${'x'.repeat(length - 1)}`)
    expect(checkSocketPath(path(107), 'linux')).toBeUndefined()
    expect(checkSocketPath(path(108), 'linux')).toMatchObject({ code: 'config' })
    expect(checkSocketPath(path(104), 'darwin')).toMatchObject({ code: 'config' })
    expect(checkSocketPath(ipcPathOf(`/${'ü'.repeat(60)}`), 'linux')).toMatchObject({ code: 'config' })
    expect(checkSocketPath(path(300), 'win32')).toBeUndefined()
  })
})
