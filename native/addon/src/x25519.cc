#include "x25519.h"

#include <new>

namespace postern {

namespace {

constexpr char kName[] = "X25519";
/** Any: it is replaced before it is used. */
constexpr uint8_t kBasePoint[X25519::kKeySize] = {9};

}  // namespace

X25519Key::~X25519Key() {
  if (context_ != nullptr) ssl_->pkey_context_free(context_);
  ssl_->pkey_free(pkey_);
}

bool X25519Key::PublicKey(uint8_t* out) const {
  size_t size = X25519::kKeySize;
  return ssl_->pkey_get_public(pkey_, out, &size) == 1 && size == X25519::kKeySize;
}

void* X25519Key::Context() {
  if (context_ != nullptr) return context_;
  void* context = ssl_->pkey_context_new(nullptr, pkey_, nullptr);
  if (context == nullptr || ssl_->derive_init(context) != 1) {
    ssl_->pkey_context_free(context);
    return nullptr;
  }
  return context_ = context;
}

X25519::~X25519() {
  if (generator_ != nullptr) ssl_->pkey_context_free(generator_);
  if (peer_ != nullptr) ssl_->pkey_free(peer_);
}

bool X25519::Open() {
  generator_ = ssl_->pkey_context_named(nullptr, kName, nullptr);
  peer_ = ssl_->pkey_from_public(nullptr, kName, nullptr, kBasePoint, kKeySize);
  const bool ready = generator_ != nullptr && peer_ != nullptr && ssl_->keygen_init(generator_) == 1;
  if (!ready) ssl_->error_clear();
  return ready;
}

X25519Key* X25519::Generate() const {
  void* pkey = nullptr;
  return ssl_->pkey_generate(generator_, &pkey) == 1 ? Keep(pkey) : Keep(nullptr);
}

X25519Key* X25519::FromPrivate(const uint8_t* secret) const {
  return Keep(ssl_->pkey_from_private(nullptr, kName, nullptr, secret, kKeySize));
}

X25519Key* X25519::Keep(void* pkey) const {
  if (pkey == nullptr) {
    ssl_->error_clear();
    return nullptr;
  }
  auto* key = new (std::nothrow) X25519Key(ssl_, pkey);
  if (key == nullptr) ssl_->pkey_free(pkey);
  return key;
}

bool X25519::Derive(X25519Key* key, const uint8_t* public_key, uint8_t* shared) {
  void* context = key->Context();
  size_t size = kKeySize;
  // The check that is left out would only ask whether there is a public key; any 32 bytes are one.
  const bool derived = context != nullptr && ssl_->pkey_set_public(peer_, public_key, kKeySize) == 1 && ssl_->derive_set_peer(context, peer_, 0) == 1 &&
                       ssl_->derive(context, shared, &size) == 1 && size == kKeySize;
  uint8_t any = 0;
  for (size_t i = 0; i < kKeySize; i++) any |= shared[i];
  if (derived && any != 0) return true;
  ssl_->cleanse(shared, kKeySize);
  ssl_->error_clear();
  return false;
}

}  // namespace postern
