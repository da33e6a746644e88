#pragma once

#include <cstddef>
#include <cstdint>

#include "openssl.h"

namespace postern {

/** SHA-256, HMAC over it, and the HKDF of Noise: one context, used again for every digest. */
class Hash {
 public:
  static constexpr size_t kSize = 32;
  static constexpr size_t kBlockSize = 64;

  explicit Hash(const OpenSsl* ssl) : ssl_(ssl) {}
  ~Hash();
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;

  /** False where this OpenSSL does not offer the digest. */
  bool Open();
  /** `out` may lie in `in`. */
  bool Sha256(const uint8_t* in, size_t length, uint8_t* out);
  /** RFC 2104; a key of at most one block. `out` may lie anywhere. */
  bool Hmac(const uint8_t* key, size_t key_length, const uint8_t* in, size_t length, uint8_t* out);
  /** HKDF(chaining key, input key material, 2) of Noise rev 34 §4.3: 64 bytes. `out` may lie anywhere. */
  bool Hkdf2(const uint8_t* chaining_key, const uint8_t* in, size_t length, uint8_t* out);

 private:
  bool Begin(const uint8_t* pad);
  bool End(uint8_t* out);

  const OpenSsl* ssl_;
  void* digest_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace postern
