// A STUN server of RFC 8489 and RFC 5780 for the tests, as a process of its own, so that it can be started in a network namespace too:
//   node stun-server.mjs --host 192.0.2.1 [--other 192.0.2.2] [--port 3478] [--alternate 3479] [--mapped 203.0.113.1:5] [--code 420]
// With --other it answers at all four of (host, other) × (port, alternate) and does what CHANGE-REQUEST and RESPONSE-PORT ask. --mapped tells that address to
// everybody: a liar. --code answers every request with that error. The same by TCP on --port of --host, unless --tcp is "off"; "closing" hangs up after each answer,
// "torn" sends each answer byte by byte. --udp off: silent by UDP. Prints one line with its ports when it serves.
import { createHmac, randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { encodeAddress, parseAddress } from '../../dist/core/base/address.js'
import { decodeChangeRequest, decodeResponsePort, encodeErrorCode, encodeStunAddress, encodeXorAddress } from '../../dist/core/wire/stun-attributes.js'
import { decodeStun, encodeStun, findAttribute, stunAttribute } from '../../dist/core/wire/stun.js'

const { values } = parseArgs({ options: { host: { type: 'string' }, other: { type: 'string' }, port: { type: 'string' }, alternate: { type: 'string' }, mapped: { type: 'string' }, code: { type: 'string' }, tcp: { type: 'string', default: 'on' }, udp: { type: 'string', default: 'on' } } })
const macs = {
  hmac: (key, ...parts) => parts.reduce((mac, part) => mac.update(part), createHmac('sha256', key)).digest(),
  hmacSha1: (key, ...parts) => parts.reduce((mac, part) => mac.update(part), createHmac('sha1', key)).digest(),
}
const hosts = values.other === undefined ? [values.host] : [values.host, values.other]

async function open(host, port) {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.bind(port, host)
  await once(socket, 'listening')
  return socket
}

/** Sockets by host, then by port; a port that is drawn must be free on every host. */
async function openAll() {
  for (;;) {
    const ports = [Number(values.port ?? 20_000 + randomBytes(2).readUInt16LE() % 40_000), ...(values.other === undefined ? [] : [Number(values.alternate ?? 20_000 + randomBytes(2).readUInt16LE() % 40_000)])]
    const opened = await Promise.allSettled(hosts.flatMap((host) => ports.map((port) => open(host, port))))
    if (opened.every(({ status }) => status === 'fulfilled')) return { ports, sockets: hosts.map((_host, i) => ports.map((_port, j) => opened[i * ports.length + j].value)) }
    for (const { value } of opened) value?.close()
    if (values.port !== undefined) throw opened.find(({ status }) => status === 'rejected').reason
  }
}

const { ports, sockets } = await openAll()

/** What a request that came in at place (i, j) is answered with, and from which place. */
function answerTo(bytes, source, i, j) {
  const request = decodeStun(bytes)
  if (request.kind !== 'stun' || request.class !== 'request') return undefined
  const { transactionId } = request
  const change = decodeChangeRequest(findAttribute(request, stunAttribute.changeRequest) ?? new Uint8Array(0)) ?? { ip: false, port: false }
  const [k, l] = [change.ip ? 1 - i : i, change.port ? 1 - j : j]
  const mapped = values.mapped === undefined ? source : parseAddress(values.mapped)
  const attributes = [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, transactionId)], [stunAttribute.mappedAddress, encodeStunAddress(mapped)]]
  if (values.other !== undefined) {
    attributes.push([stunAttribute.responseOrigin, encodeStunAddress(encodeAddress(hosts[k], ports[l]))], [stunAttribute.otherAddress, encodeStunAddress(encodeAddress(hosts[1 - i], ports[1 - j]))])
  }
  const code = values.code === undefined ? undefined : Number(values.code)
  const answer = code === undefined
    ? encodeStun(macs, { class: 'success', transactionId, attributes, fingerprint: true })
    : encodeStun(macs, { class: 'error', transactionId, attributes: [[stunAttribute.errorCode, encodeErrorCode({ code, reason: 'as told' })]], fingerprint: true })
  const asked = findAttribute(request, stunAttribute.responsePort)
  return { answer, k, l, port: asked === undefined || values.other === undefined ? undefined : decodeResponsePort(asked) }
}

sockets.forEach((row, i) => row.forEach((socket, j) => socket.on('message', (bytes, from) => {
  const answered = values.udp === 'off' ? undefined : answerTo(bytes, encodeAddress(from.address, from.port), i, j)
  if (answered !== undefined) sockets[answered.k]?.[answered.l]?.send(answered.answer, answered.port ?? from.port, from.address)
})))

if (values.tcp !== 'off') {
  const server = createServer((socket) => {
    let held = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    socket.on('data', (data) => {
      // Who has hung up already has no address any more, and waits for nothing.
      if (socket.remoteAddress === undefined) return
      held = Buffer.concat([held, data])
      while (held.length >= 20 && held.length >= 20 + held.readUInt16BE(2)) {
        const size = 20 + held.readUInt16BE(2)
        const answered = answerTo(new Uint8Array(held.subarray(0, size)), encodeAddress(socket.remoteAddress, socket.remotePort), 0, 0)
        held = held.subarray(size)
        if (answered === undefined) continue
        if (values.tcp === 'torn') for (const byte of answered.answer) socket.write(Buffer.of(byte))
        else if (values.tcp === 'closing') socket.end(answered.answer)
        else socket.write(answered.answer)
      }
    })
  })
  server.listen(ports[0], values.host)
  await once(server, 'listening')
}
console.log(`serves ${ports.join(' ')}`)
