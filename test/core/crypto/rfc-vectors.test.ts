import { describe, expect, it } from 'vitest'
import { utf8 } from '../../../src/core/base/bytes.ts'
import { hkdfExpand, hkdfExtract } from '../../../src/core/crypto/hkdf.ts'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { hex, repeated } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'

describe.each(providers)('RFC vectors with %s', (_name, provider) => {
  it('ChaCha20-Poly1305, RFC 8439 §2.8.2', () => {
    const plaintext = utf8("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
    const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f')
    const nonce = hex('070000004041424344454647')
    const associated = hex('50515253c0c1c2c3c4c5c6c7')
    const sealed = provider.seal(key, nonce, associated, plaintext)
    expect(sealed).toEqual(hex(`
      d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b
      1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
      3ff4def08e4b7a9de576d26586cec64b 6116 1ae10b594f09e26a7e902ecbd0600691`))
    expect(provider.open(key, nonce, associated, sealed)).toEqual(plaintext)
  })

  it('ChaCha20-Poly1305 decryption, RFC 8439 appendix A.5', () => {
    const key = hex('1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0')
    const opened = provider.open(key, hex('000000000102030405060708'), hex('f33388860000000000004e91'), hex(`
      64a0861575861af460f062c79be643bd 5e805cfd345cf389f108670ac76c8cb2 4c6cfc18755d43eea09ee94e382d26b0
      bdb7b73c321b0100d4f03b7f355894cf 332f830e710b97ce98c8a84abd0b9481 14ad176e008d33bd60f982b1ff37c855
      9797a06ef4f0ef61c186324e2b350638 3606907b6a7c02b0f9f6157b53c867e4 b9166c767b804d46a59b5216cde7a4e9
      9040c5a40433225ee282a1b0a06c523e af4534d7f83fa1155b0047718cbc546a 0d072b04b3564eea1b422273f548271a
      0bb2316053fa76991955ebd63159434e cebb4e466dae5a1073a6727627097a10 49e617d91d361094fa68f0ff77987130
      305beaba2eda04df997b714d6c6f2c29 a6ad5cb4022b02709b eead9d67890cbb22392336fea1851f38`))
    expect(opened).toHaveLength(265)
    expect(opened!.subarray(0, 49)).toEqual(utf8('Internet-Drafts are draft documents valid for a m'))
  })

  it('X25519, RFC 7748 §5.2', () => {
    const first = dh(provider, hex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4'), hex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c'))
    expect(first).toEqual(hex('c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552'))
    // The top bit of the second u is set and must be ignored.
    const second = dh(provider, hex('4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d'), hex('e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493'))
    expect(second).toEqual(hex('95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957'))
  })

  it('X25519 iterated 1 and 1000 times, RFC 7748 §5.2', () => {
    let k: Uint8Array = repeated(0)
    k[0] = 9
    let u = k
    const step = (): void => {
      const result = dh(provider, k, u)!
      u = k
      k = result
    }
    step()
    expect(k).toEqual(hex('422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079'))
    for (let i = 1; i < 1000; i++) step()
    expect(k).toEqual(hex('684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51'))
  })

  it('X25519 key agreement, RFC 7748 §6.1', () => {
    const alice = provider.x25519FromPrivate(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'))
    const bob = provider.x25519FromPrivate(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
    expect(alice.publicKey).toEqual(hex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'))
    expect(bob.publicKey).toEqual(hex('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'))
    const shared = hex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742')
    expect(provider.x25519(alice.privateKey, provider.x25519Import(bob.publicKey))).toEqual(shared)
    expect(provider.x25519(bob.privateKey, provider.x25519Import(alice.publicKey))).toEqual(shared)
  })

  it('an all-zero X25519 result is no result, RFC 7748 §6.1', () => {
    const own = provider.x25519FromPrivate(repeated(3))
    for (const u of ['00'.repeat(32), '01' + '00'.repeat(31), 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800']) {
      expect(provider.x25519(own.privateKey, provider.x25519Import(hex(u)))).toBeUndefined()
    }
  })

  it('HKDF-SHA-256, RFC 5869 appendix A.1, A.2 and A.3', () => {
    const cases = [
      {
        ikm: repeated(0x0b, 22), salt: hex('000102030405060708090a0b0c'), info: hex('f0f1f2f3f4f5f6f7f8f9'),
        prk: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
        okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
      },
      {
        ikm: Uint8Array.from({ length: 80 }, (_, i) => i), salt: Uint8Array.from({ length: 80 }, (_, i) => 0x60 + i), info: Uint8Array.from({ length: 80 }, (_, i) => 0xb0 + i),
        prk: '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
        okm: 'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
      },
      {
        ikm: repeated(0x0b, 22), salt: new Uint8Array(0), info: new Uint8Array(0),
        prk: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
        okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
      },
    ]
    for (const { ikm, salt, info, prk, okm } of cases) {
      expect(hkdfExtract(provider, salt, ikm)).toEqual(hex(prk))
      expect(hkdfExpand(provider, hex(prk), info, okm.length / 2)).toEqual(hex(okm))
    }
  })

  it('Ed25519, RFC 8032 §7.1 tests 1 to 3', () => {
    const cases = [
      ['9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', '',
        'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b'],
      ['4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c', '72',
        '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00'],
      ['c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7', 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025', 'af82',
        '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a'],
    ] as const
    for (const [seed, id, message, signature] of cases) {
      expect(provider.ed25519Public(hex(seed))).toEqual(hex(id))
      expect(provider.ed25519Sign(hex(seed), hex(message))).toEqual(hex(signature))
      expect(provider.ed25519Verify(hex(id), hex(message), hex(signature))).toBe(true)
      expect(provider.ed25519Verify(hex(id), hex(`${message}00`), hex(signature))).toBe(false)
    }
  })

  it('HMAC-SHA-256, RFC 4231 §4.2, §4.3 and a key longer than a block, §4.7', () => {
    expect(provider.hmac(repeated(0x0b, 20), utf8('Hi There'))).toEqual(hex('b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'))
    expect(provider.hmac(utf8('Jefe'), utf8('what do ya want '), utf8('for nothing?'))).toEqual(hex('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'))
    expect(provider.hmac(repeated(0xaa, 131), utf8('Test Using Larger Than Block-Size Key - Hash Key First'))).toEqual(hex('60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54'))
  })

  it('SHA-256 and SHA-512 of "abc", FIPS 180-4', () => {
    expect(provider.sha256(utf8('a'), utf8('bc'))).toEqual(hex('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'))
    expect(provider.sha512(utf8('abc'))).toEqual(hex('ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f'))
  })
})

function dh(provider: CryptoProvider, secret: Uint8Array, u: Uint8Array): Uint8Array | undefined {
  return provider.x25519(provider.x25519FromPrivate(secret).privateKey, provider.x25519Import(u))
}
