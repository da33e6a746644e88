import { PosternError } from '../core/base/errors.ts'
import { TcpDriver } from '../net/tcp.ts'
import type { TcpSystem } from '../net/tcp-system.ts'
import type { Config } from './config/config-schema.ts'
import type { Log } from './log/log.ts'
import type { NodeRuntime } from './node-runtime.ts'

/**
 * TCP beside UDP: the listener has the number of the UDP port, since invites and records name one address for both. Where that is
 * taken, or may not be listened on, the daemon goes on without a listener and still dials; a port that the configuration names must
 * be had. `undefined` when TCP is switched off.
 */
export async function startTcp(runtime: NodeRuntime, config: Config, udpPort: number, log: Log, system: TcpSystem | undefined): Promise<TcpDriver | undefined> {
  const { enabled, listen, port } = config.tcp
  if (!enabled) return undefined
  const open = async (bind: readonly string[]): Promise<TcpDriver> => {
    const driver = new TcpDriver(runtime, { port: port === 0 ? udpPort : port, bind, ...(system === undefined ? {} : { system }) })
    await driver.start()
    return driver
  }
  let driver: TcpDriver
  try {
    driver = await open(listen ? config.udp.bind : [])
  } catch (error) {
    if (port !== 0 || !(error instanceof PosternError)) throw error
    log.warn('TCP is not listened on; peers cannot reach this node by it', { port: udpPort, code: error.code, error: error.message })
    driver = await open([])
  }
  runtime.addDialer(driver)
  return driver
}
