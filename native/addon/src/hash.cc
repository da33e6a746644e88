#include "hash.h"

#include <cstring>

namespace postern {

namespace {

/** The pads of RFC 2104 and what comes between them; overwritten when it goes. */
struct HmacState {
  explicit HmacState(const OpenSsl* ssl) : ssl(ssl) {}
  ~HmacState() { ssl->cleanse(pad, sizeof(pad)); }

  void Pad(const uint8_t* key, size_t length, uint8_t with) {
    for (size_t i = 0; i < sizeof(pad); i++) pad[i] = static_cast<uint8_t>((i < length ? key[i] : 0) ^ with);
  }

  const OpenSsl* ssl;
  uint8_t pad[Hash::kBlockSize];
};

/** Bytes that are overwritten when they go. */
template <size_t kLength>
struct Secret {
  explicit Secret(const OpenSsl* ssl) : ssl(ssl) {}
  ~Secret() { ssl->cleanse(bytes, kLength); }

  const OpenSsl* ssl;
  uint8_t bytes[kLength];
};

}  // namespace

Hash::~Hash() {
  if (context_ != nullptr) ssl_->digest_context_free(context_);
  if (digest_ != nullptr) ssl_->digest_free(digest_);
}

bool Hash::Open() {
  digest_ = ssl_->digest_fetch(nullptr, "SHA256", nullptr);
  context_ = ssl_->digest_context_new();
  const bool ready = digest_ != nullptr && context_ != nullptr && ssl_->digest_init(context_, digest_, nullptr) == 1;
  if (!ready) ssl_->error_clear();
  return ready;
}

bool Hash::Begin(const uint8_t* pad) {
  return ssl_->digest_init(context_, digest_, nullptr) == 1 && (pad == nullptr || ssl_->digest_update(context_, pad, kBlockSize) == 1);
}

bool Hash::End(uint8_t* out) {
  unsigned int size = 0;
  return ssl_->digest_final(context_, out, &size) == 1 && size == kSize;
}

bool Hash::Sha256(const uint8_t* in, size_t length, uint8_t* out) {
  return Begin(nullptr) && ssl_->digest_update(context_, in, length) == 1 && End(out);
}

bool Hash::Hmac(const uint8_t* key, size_t key_length, const uint8_t* in, size_t length, uint8_t* out) {
  HmacState outer(ssl_), inner(ssl_);
  Secret<kSize> digest(ssl_);
  inner.Pad(key, key_length, 0x36);
  outer.Pad(key, key_length, 0x5c);
  return Begin(inner.pad) && ssl_->digest_update(context_, in, length) == 1 && End(digest.bytes) && Begin(outer.pad) &&
         ssl_->digest_update(context_, digest.bytes, kSize) == 1 && End(out);
}

bool Hash::Hkdf2(const uint8_t* chaining_key, const uint8_t* in, size_t length, uint8_t* out) {
  constexpr uint8_t kOne = 1;
  Secret<kSize> temporary(ssl_);
  Secret<kSize + 1> first(ssl_);
  if (!Hmac(chaining_key, kSize, in, length, temporary.bytes) || !Hmac(temporary.bytes, kSize, &kOne, 1, first.bytes)) return false;
  first.bytes[kSize] = 2;
  if (!Hmac(temporary.bytes, kSize, first.bytes, kSize + 1, out + kSize)) return false;
  std::memcpy(out, first.bytes, kSize);
  return true;
}

}  // namespace postern
