import { describe, expect, it } from 'vitest'
import { PosternError } from '../../src/core/base/errors.ts'
import { absoluteFrom, resolvePaths, withSocket, type PathsInput } from '../../src/daemon/paths.ts'

const user: PathsInput = { platform: 'linux', uid: 1000, home: '/home/ada', cwd: '/work', env: {} }
const root: PathsInput = { ...user, uid: 0, home: '/root' }

describe('resolvePaths', () => {
  it('uses the XDG directories of a user', () => {
    expect(resolvePaths(user)).toMatchObject({ config: '/home/ada/.config/postern/postern.toml', configNamed: false, state: '/home/ada/.local/state/postern', dir: undefined })
    const env = { XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s', XDG_RUNTIME_DIR: '/run/user/1000' }
    const paths = resolvePaths({ ...user, env })
    expect(paths).toMatchObject({ config: '/c/postern/postern.toml', state: '/s/postern' })
    expect(paths.sockets[0]?.socket).toBe('/run/user/1000/postern/postern.sock')
  })

  it('uses the system directories for root, unless XDG says otherwise', () => {
    expect(resolvePaths(root)).toMatchObject({ config: '/etc/postern/postern.toml', state: '/var/lib/postern' })
    expect(resolvePaths({ ...root, env: { XDG_STATE_HOME: '/s', XDG_CONFIG_HOME: '/c' } })).toMatchObject({ config: '/c/postern/postern.toml', state: '/s/postern' })
  })

  it('puts everything of an instance under one directory', () => {
    for (const input of [{ ...user, env: { POSTERN_DIR: '/srv/one' } }, { ...user, dir: '/srv/one', env: { POSTERN_DIR: '/srv/two' } }, { ...root, dir: '../srv/one' }]) {
      const paths = resolvePaths(input)
      expect(paths).toMatchObject({ dir: '/srv/one', config: '/srv/one/postern.toml', state: '/srv/one/state' })
      expect(paths.sockets.map(({ socket }) => socket.startsWith('/srv/one/'))).toEqual([true])
    }
    expect(resolvePaths({ ...user, dir: 'here' }).dir).toBe('/work/here')
  })

  it('takes the named configuration file before every other', () => {
    expect(resolvePaths({ ...user, dir: '/srv/one', config: 'my.toml' })).toMatchObject({ config: '/work/my.toml', configNamed: true, state: '/srv/one/state' })
  })

  it('ignores empty variables, and relative ones where XDG forbids them', () => {
    const env = { XDG_CONFIG_HOME: 'relative', XDG_STATE_HOME: '', POSTERN_DIR: '' }
    expect(resolvePaths({ ...user, env })).toEqual(resolvePaths(user))
  })

  it('says what to do where there is no home', () => {
    try {
      resolvePaths({ ...user, home: undefined })
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(PosternError)
      expect(error).toMatchObject({ code: 'config' })
      expect((error as PosternError).hint).toContain('POSTERN_DIR')
    }
    expect(resolvePaths({ ...user, home: undefined, dir: '/d' }).state).toBe('/d/state')
    expect(resolvePaths({ ...root, home: undefined }).state).toBe('/var/lib/postern')
  })
})

describe('paths of the configuration', () => {
  it('start beside the file', () => {
    const paths = resolvePaths({ ...user, config: '/etc/x/my.toml' })
    expect(absoluteFrom(paths, 'log/a')).toBe('/etc/x/log/a')
    expect(absoluteFrom(paths, '/var/a')).toBe('/var/a')
    expect(withSocket(paths, 'my.sock').sockets.map(({ socket }) => socket)).toEqual(['/etc/x/my.sock'])
    expect(withSocket(paths, undefined)).toBe(paths)
  })
})
