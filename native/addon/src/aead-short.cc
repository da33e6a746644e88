#include "aead-short.h"

#include <cstring>

namespace postern {

namespace {

constexpr uint8_t kZero[32] = {};

void WriteU64(uint64_t value, uint8_t* to) {
  for (int i = 0; i < 8; i++, value >>= 8) to[i] = static_cast<uint8_t>(value);
}

}  // namespace

ShortAead::~ShortAead() {
  // OpenSSL overwrites what its contexts hold when it frees them.
  if (stream_ != nullptr) ssl_->context_free(stream_);
  if (authenticator_ != nullptr) ssl_->mac_context_free(authenticator_);
  if (cipher_ != nullptr) ssl_->cipher_free(cipher_);
  if (mac_ != nullptr) ssl_->mac_free(mac_);
  ssl_->cleanse(buffer_, sizeof buffer_);
}

bool ShortAead::Open() {
  cipher_ = ssl_->cipher_fetch(nullptr, "ChaCha20", nullptr);
  mac_ = ssl_->mac_fetch(nullptr, "POLY1305", nullptr);
  stream_ = ssl_->context_new();
  authenticator_ = mac_ == nullptr ? nullptr : ssl_->mac_context_new(mac_);
  return cipher_ != nullptr && stream_ != nullptr && authenticator_ != nullptr && ssl_->encrypt_init(stream_, cipher_, kZero, kZero, nullptr) == 1;
}

bool ShortAead::Cipher(const uint8_t* key, uint64_t counter, size_t length) {
  // OpenSSL's "IV" of ChaCha20: the block counter as u32 LE, then the nonce, whose first four bytes are zero (WIRE.md §4).
  uint8_t start[16] = {};
  WriteU64(counter, start + 8);
  // Block 0 gives the one-time key, as the key stream over zeros; the text begins with block 1. What lies behind its end goes along
  // to the next whole block, and nobody looks at it.
  memset(buffer_, 0, kBlockSize);
  const size_t whole = kBlockSize + ((length + kBlockSize - 1) & ~(kBlockSize - 1));
  int written = 0;
  return ssl_->encrypt_init(stream_, nullptr, key, start, nullptr) == 1 && ssl_->encrypt_update(stream_, buffer_, &written, buffer_, static_cast<int>(whole)) == 1;
}

bool ShortAead::Tag(const uint8_t* ciphertext, size_t length, uint8_t* tag) {
  // §2.8: zeros to a multiple of 16, then the lengths of the associated data (none) and of the ciphertext.
  uint8_t end[32] = {};
  const size_t padding = (16 - length % 16) % 16;
  WriteU64(length, end + padding + 8);
  size_t written = 0;
  bool done = ssl_->mac_init(authenticator_, buffer_, kKeySize, nullptr) == 1;
  if (length > 0) done = done && ssl_->mac_update(authenticator_, ciphertext, length) == 1;
  return done && ssl_->mac_update(authenticator_, end, padding + 16) == 1 && ssl_->mac_final(authenticator_, tag, &written, kTagSize) == 1 && written == kTagSize;
}

bool ShortAead::Seal(const uint8_t* key, uint64_t counter, size_t length, uint8_t* out) {
  if (!Cipher(key, counter, length) || !Tag(buffer_ + kBlockSize, length, out + length)) return false;
  memcpy(out, buffer_ + kBlockSize, length);
  return true;
}

bool ShortAead::Open(const uint8_t* key, uint64_t counter, uint8_t* text, size_t length) {
  uint8_t tag[kTagSize];
  memcpy(buffer_ + kBlockSize, text, length);
  if (!Cipher(key, counter, length) || !Tag(text, length, tag) || ssl_->equal(tag, text + length, kTagSize) != 0) return false;
  memcpy(text, buffer_ + kBlockSize, length);
  return true;
}

void ShortAead::Forget() {
  ssl_->encrypt_init(stream_, nullptr, kZero, kZero, nullptr);
  ssl_->mac_init(authenticator_, kZero, kKeySize, nullptr);
  ssl_->cleanse(buffer_, sizeof buffer_);
}

}  // namespace postern
