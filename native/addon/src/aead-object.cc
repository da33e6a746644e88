// The JavaScript face of Aead: `aeadOpen()` makes an instance, which all other calls take first.
#include <new>

#include "addon.h"
#include "aead.h"
#include "arguments.h"

namespace postern {

namespace {

constexpr napi_type_tag kTag = {0x9d1c6f0be8a54c37, 0xa2f04be1c3d85e61};

void FreeAead(napi_env, void* data, void*) {
  delete static_cast<Aead*>(data);
}

napi_value AeadOpen(napi_env env, napi_callback_info) {
  auto* aead = new (std::nothrow) Aead(&AddonOf(env)->ssl);
  napi_value object = nullptr;
  if (aead == nullptr || !aead->Open()) {
    delete aead;
    napi_throw_error(env, nullptr, "this OpenSSL has no ChaCha20-Poly1305");
    return nullptr;
  }
  if (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, aead, FreeAead, nullptr, nullptr) != napi_ok) {
    delete aead;
    return nullptr;
  }
  if (napi_type_tag_object(env, object, &kTag) != napi_ok) return nullptr;
  return object;
}

/** The instance that the method was called on; nullptr with a TypeError pending. */
Aead* Self(Arguments& arguments, napi_value object) {
  bool tagged = false;
  void* aead = nullptr;
  if (!arguments.ok() || object == nullptr || napi_check_object_type_tag(arguments.env(), object, &kTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(arguments.env(), object, &aead) != napi_ok) {
    arguments.Fail("aead", "what aeadOpen returned");
    return nullptr;
  }
  return static_cast<Aead*>(aead);
}

napi_value AddKey(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  if (!arguments.Value("aead", &object)) return nullptr;
  Aead* aead = Self(arguments, object);
  uint8_t* key;
  size_t size;
  if (aead == nullptr || !arguments.Bytes("key", Aead::kKeySize, &key, &size)) return nullptr;
  if (size != Aead::kKeySize) {
    arguments.Fail("key", "32 bytes");
    return nullptr;
  }
  return MakeInt32(env, aead->AddKey(key));
}

napi_value RemoveKey(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  if (!arguments.Value("aead", &object)) return nullptr;
  Aead* aead = Self(arguments, object);
  int32_t slot;
  if (aead == nullptr || !arguments.Int32("slot", INT32_MIN, INT32_MAX, &slot)) return nullptr;
  return MakeBoolean(env, aead->RemoveKey(slot));
}

/**
 * (aead, bytes, count, key, counter, offset, length): 0, or why nothing was done. Of a batch to be sealed also its pieces: pieceEnd,
 * pieceTo, pieceFrom, pieceLength.
 */
template <bool kSeal>
napi_value Batch(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  if (!arguments.Value("aead", &object)) return nullptr;
  Aead* aead = Self(arguments, object);
  if (aead == nullptr) return nullptr;
  uint8_t* bytes;
  int32_t *key, *offset, *length, count;
  double* counter;
  size_t size, found;
  if (!arguments.Bytes("bytes", 0, &bytes, &size) || !arguments.Int32("count", 0, INT32_MAX, &count)) return nullptr;
  const size_t rows = count;
  if (!arguments.Int32s("key", rows, &key, &found) || !arguments.Doubles("counter", rows, &counter, &found) || !arguments.Int32s("offset", rows, &offset, &found) ||
      !arguments.Int32s("length", rows, &length, &found)) {
    return nullptr;
  }
  const AeadRows batch = {count, key, counter, offset, length};
  if (!kSeal) return MakeInt32(env, static_cast<int32_t>(aead->OpenBatch(bytes, size, batch)));
  int32_t *end, *to, *from, *part;
  size_t pieces;
  if (!arguments.Int32s("pieceEnd", rows, &end, &found) || !arguments.Int32s("pieceTo", 0, &to, &pieces) || !arguments.Int32s("pieceFrom", pieces, &from, &found) ||
      !arguments.Int32s("pieceLength", pieces, &part, &found)) {
    return nullptr;
  }
  return MakeInt32(env, static_cast<int32_t>(aead->SealBatch(bytes, size, batch, {pieces, end, to, from, part})));
}

/** (aead, key, nonce, associated, input, output): whether it was done; `output` is 16 bytes longer, or shorter, than `input`. */
template <bool kSeal>
napi_value One(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  if (!arguments.Value("aead", &object)) return nullptr;
  Aead* aead = Self(arguments, object);
  if (aead == nullptr) return nullptr;
  uint8_t *key, *nonce, *associated, *input, *output;
  size_t key_size, nonce_size, associated_size, input_size, output_size;
  if (!arguments.Bytes("key", Aead::kKeySize, &key, &key_size) || !arguments.Bytes("nonce", Aead::kNonceSize, &nonce, &nonce_size) ||
      !arguments.Bytes("associated", 0, &associated, &associated_size) || !arguments.Bytes("input", kSeal ? 0 : Aead::kTagSize, &input, &input_size) ||
      !arguments.Bytes("output", 0, &output, &output_size)) {
    return nullptr;
  }
  const size_t expected = kSeal ? input_size + Aead::kTagSize : input_size - Aead::kTagSize;
  if (key_size != Aead::kKeySize || nonce_size != Aead::kNonceSize || output_size != expected || associated_size > INT32_MAX || input_size > INT32_MAX) {
    arguments.Fail("output", "arrays of lengths that fit each other");
    return nullptr;
  }
  const bool done = kSeal ? aead->Seal(key, nonce, associated, associated_size, input, input_size, output) : aead->Open(key, nonce, associated, associated_size, input, input_size, output);
  return MakeBoolean(env, done);
}

}  // namespace

bool ExportAead(napi_env env, napi_value exports) {
  return Export(env, exports, "aeadOpen", AeadOpen) && Export(env, exports, "aeadAddKey", AddKey) && Export(env, exports, "aeadRemoveKey", RemoveKey) &&
         Export(env, exports, "aeadSealBatch", Batch<true>) && Export(env, exports, "aeadOpenBatch", Batch<false>) &&
         Export(env, exports, "aeadSealOne", One<true>) && Export(env, exports, "aeadOpenOne", One<false>);
}

}  // namespace postern
