import { generateKeyPairSync, sign } from 'node:crypto'

/** RFC 8410 §3: Ed25519. */
const ED25519 = der(0x30, Buffer.from([0x06, 0x03, 0x2b, 0x65, 0x70]))
/** RFC 5280 §4.1: version 3. */
const VERSION_3 = Buffer.from([0xa0, 0x03, 0x02, 0x01, 0x02])
const SERIAL = Buffer.from([0x02, 0x01, 0x01])
/** CN = bench */
const NAME = der(0x30, der(0x31, der(0x30, Buffer.concat([Buffer.from([0x06, 0x03, 0x55, 0x04, 0x03]), der(0x0c, Buffer.from('bench'))]))))
const ALWAYS = der(0x30, Buffer.concat([der(0x17, Buffer.from('200101000000Z')), der(0x17, Buffer.from('491231235959Z'))]))

/** A key and a certificate for one run: none lies about, and no program is needed to make them. PEM. */
export function selfSigned(): { readonly key: string; readonly cert: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const facts = der(0x30, Buffer.concat([VERSION_3, SERIAL, ED25519, NAME, ALWAYS, NAME, publicKey.export({ type: 'spki', format: 'der' })]))
  const signature = der(0x03, Buffer.concat([Buffer.from([0]), sign(null, facts, privateKey)]))
  const certificate = der(0x30, Buffer.concat([facts, ED25519, signature])).toString('base64').replace(/.{64}/g, '$&\n')
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: `-----BEGIN CERTIFICATE-----\n${certificate}\n-----END CERTIFICATE-----\n` }
}

/** X.690 §8.1: tag, length, contents. */
function der(tag: number, contents: Buffer): Buffer {
  const { length } = contents
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), contents])
}
