// The JavaScript face of Hash: `hashOpen(scratch)` makes one, which the other calls take first. What goes in and comes out lies in the
// scratch array, so that a call has no more arguments than lengths: a digest of 64 bytes takes less than handing over two arrays.
#include <new>

#include "addon.h"
#include "arguments.h"
#include "hash.h"

namespace postern {

namespace {

constexpr napi_type_tag kTag = {0x7a05e91cd3b8462f, 0xc91f2d84a6e07b35};

struct HashObject {
  HashObject(const OpenSsl* ssl) : hash(ssl) {}

  Hash hash;
  /** Keeps the array alive, and says where it is: an array whose buffer was handed away has no bytes. */
  napi_ref scratch = nullptr;
};

void Free(napi_env env, void* data, void*) {
  auto* object = static_cast<HashObject*>(data);
  if (object->scratch != nullptr) napi_delete_reference(env, object->scratch);
  delete object;
}

napi_value Open(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint8_t* bytes;
  size_t size;
  if (!arguments.Bytes("scratch", 2 * Hash::kBlockSize, &bytes, &size)) return nullptr;
  auto* hash = new (std::nothrow) HashObject(&AddonOf(env)->ssl);
  if (hash == nullptr || !hash->hash.Open() || napi_create_reference(env, arguments.Last(), 1, &hash->scratch) != napi_ok) {
    delete hash;
    napi_throw_error(env, nullptr, "this OpenSSL has no SHA-256");
    return nullptr;
  }
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, hash, Free, nullptr, nullptr) != napi_ok) {
    Free(env, hash, nullptr);
    return nullptr;
  }
  return napi_type_tag_object(env, object, &kTag) == napi_ok ? object : nullptr;
}

/** One call: the object, its scratch memory, and how much of it is input. */
struct Call {
  Call(napi_env env, napi_callback_info info) : arguments(env, info) {}

  /** @param head where the input begins */
  bool Read(size_t head) {
    napi_value object = nullptr, array = nullptr;
    bool tagged = false;
    void* native = nullptr;
    if (!arguments.Value("hash", &object)) return false;
    napi_env env = arguments.env();
    if (napi_check_object_type_tag(env, object, &kTag, &tagged) != napi_ok || !tagged || napi_unwrap(env, object, &native) != napi_ok) return arguments.Fail("hash", "what hashOpen returned");
    self = static_cast<HashObject*>(native);
    void* data = nullptr;
    size_t size = 0;
    if (napi_get_reference_value(env, self->scratch, &array) != napi_ok || array == nullptr || !ReadTypedArray(env, array, napi_uint8_array, &data, &size) || size < head) {
      return arguments.Fail("hash", "a scratch array that is still there");
    }
    bytes = static_cast<uint8_t*>(data);
    int32_t count;
    if (!arguments.Int32("length", 0, static_cast<int32_t>(size - head), &count)) return false;
    length = static_cast<size_t>(count);
    return true;
  }

  Arguments arguments;
  HashObject* self = nullptr;
  uint8_t* bytes = nullptr;
  size_t length = 0;
};

/** (hash, length): the digest of `scratch[0, length)`, at 0. */
napi_value Sha256(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Read(0)) return nullptr;
  return MakeBoolean(env, call.self->hash.Sha256(call.bytes, call.length, call.bytes));
}

/** (hash, length, key length): the HMAC of `scratch[64, 64 + length)` under `scratch[0, key length)`, at 0. */
napi_value Hmac(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int32_t key_length;
  if (!call.Read(Hash::kBlockSize) || !call.arguments.Int32("keyLength", 0, Hash::kBlockSize, &key_length)) return nullptr;
  return MakeBoolean(env, call.self->hash.Hmac(call.bytes, static_cast<size_t>(key_length), call.bytes + Hash::kBlockSize, call.length, call.bytes));
}

/** (hash, length): Noise's HKDF of `scratch[64, 64 + length)` under the chaining key at 0; its 64 bytes, at 0. */
napi_value Hkdf2(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Read(Hash::kBlockSize)) return nullptr;
  return MakeBoolean(env, call.self->hash.Hkdf2(call.bytes, call.bytes + Hash::kBlockSize, call.length, call.bytes));
}

}  // namespace

bool ExportHash(napi_env env, napi_value exports) {
  return Export(env, exports, "hashOpen", Open) && Export(env, exports, "hashSha256", Sha256) && Export(env, exports, "hashHmac", Hmac) && Export(env, exports, "hashHkdf2", Hkdf2);
}

}  // namespace postern
