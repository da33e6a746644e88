#pragma once

#include <cstddef>
#include <cstdint>

#include "openssl.h"

namespace postern {

/** One private key as OpenSSL keeps it, with the context that derives from it. Both are overwritten by OpenSSL when they are freed. */
class X25519Key {
 public:
  X25519Key(const OpenSsl* ssl, void* pkey) : ssl_(ssl), pkey_(pkey) {}
  ~X25519Key();
  X25519Key(const X25519Key&) = delete;
  X25519Key& operator=(const X25519Key&) = delete;

  bool PublicKey(uint8_t* out) const;

 private:
  friend class X25519;
  /** Made at the first agreement and kept: looking the algorithm up costs as much as everything else around the multiplication. */
  void* Context();

  const OpenSsl* ssl_;
  void* pkey_;
  void* context_ = nullptr;
};

/** X25519 (RFC 7748) over OpenSSL: one context that generates, and one key that is each peer in turn. */
class X25519 {
 public:
  static constexpr size_t kKeySize = 32;

  explicit X25519(const OpenSsl* ssl) : ssl_(ssl) {}
  ~X25519();
  X25519(const X25519&) = delete;
  X25519& operator=(const X25519&) = delete;

  /** False where this OpenSSL does not offer the curve (a FIPS configuration). */
  bool Open();
  /** nullptr when there is no memory or no randomness. */
  X25519Key* Generate() const;
  X25519Key* FromPrivate(const uint8_t* secret) const;
  /** False, and `shared` overwritten, when the result is all zero: OpenSSL refuses it (RFC 7748 §6.1), and so does the caller. */
  bool Derive(X25519Key* key, const uint8_t* public_key, uint8_t* shared);

 private:
  X25519Key* Keep(void* pkey) const;

  const OpenSsl* ssl_;
  void* generator_ = nullptr;
  /** Its public key is replaced before each agreement: a key object for each peer would cost 700 bytes and a microsecond. */
  void* peer_ = nullptr;
};

}  // namespace postern
