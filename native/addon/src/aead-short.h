#pragma once

#include <cstddef>
#include <cstdint>

#include "openssl.h"

namespace postern {

/**
 * ChaCha20-Poly1305 (RFC 8439 §2.8) without associated data, for datagrams of ordinary size: OpenSSL's ChaCha20 and Poly1305 put
 * together here, so that one pass of the cipher gives the one-time key and the text, in whole blocks. OpenSSL's own composition runs
 * its vector code for the one block of the key, once more for the text, and a third time for what is left of it behind the last
 * whole block (decision 066). The text passes through a buffer of our own: no byte outside the row is touched.
 */
class ShortAead {
 public:
  static constexpr size_t kTagSize = 16;
  /** From here on the two copies cost as much as the passes that they save. */
  static constexpr int32_t kLengthMax = 2048;

  explicit ShortAead(const OpenSsl* ssl) : ssl_(ssl) {}
  ~ShortAead();
  ShortAead(const ShortAead&) = delete;
  ShortAead& operator=(const ShortAead&) = delete;

  /** False where this OpenSSL does not offer the two algorithms. */
  bool Open();
  /** Where the plaintext of the next {@link Seal} is to be put, at most kLengthMax bytes of it. */
  uint8_t* Plaintext() { return buffer_ + kBlockSize; }
  /** Seals it: `length` bytes and the tag, to `out`. `key` stays for the rows that follow; nullptr: the one that is there. */
  bool Seal(const uint8_t* key, uint64_t counter, size_t length, uint8_t* out);
  /** Opens in place; false, and nothing changed, when the tag does not verify. */
  bool Open(const uint8_t* key, uint64_t counter, uint8_t* text, size_t length);
  /** Overwrites the key and what the last row left behind. */
  void Forget();

 private:
  static constexpr size_t kBlockSize = 64;
  static constexpr size_t kKeySize = 32;

  /** Fills the buffer: the one-time key's block, then the text in it under the key stream. */
  bool Cipher(const uint8_t* key, uint64_t counter, size_t length);
  /** The tag of `length` bytes of ciphertext, under the one-time key in the buffer. */
  bool Tag(const uint8_t* ciphertext, size_t length, uint8_t* tag);

  const OpenSsl* ssl_;
  void* cipher_ = nullptr;
  void* mac_ = nullptr;
  void* stream_ = nullptr;
  void* authenticator_ = nullptr;
  alignas(kBlockSize) uint8_t buffer_[kBlockSize + kLengthMax] = {};
};

}  // namespace postern
