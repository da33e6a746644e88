// The JavaScript face of X25519: `x25519Open()` makes an engine, which the other calls take first; keys are objects of their own.
#include <new>

#include "addon.h"
#include "arguments.h"
#include "x25519.h"

namespace postern {

namespace {

constexpr napi_type_tag kEngineTag = {0x51c2a90d3e7b4f16, 0xb07d86e5419ac23f};
constexpr napi_type_tag kKeyTag = {0x2fe8b3c65a90417d, 0x8c1d7490e6b25fa3};

template <typename T>
void Free(napi_env, void* data, void*) {
  delete static_cast<T*>(data);
}

/** An object that owns `native`; nullptr with an Error pending, and `native` freed, when there is none. */
template <typename T>
napi_value Wrap(napi_env env, T* native, const napi_type_tag& tag) {
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, native, Free<T>, nullptr, nullptr) != napi_ok) {
    delete native;
    return nullptr;
  }
  return napi_type_tag_object(env, object, &tag) == napi_ok ? object : nullptr;
}

template <typename T>
T* Unwrap(Arguments& arguments, const char* name, const napi_type_tag& tag) {
  napi_value object = nullptr;
  bool tagged = false;
  void* native = nullptr;
  if (!arguments.Value(name, &object)) return nullptr;
  if (napi_check_object_type_tag(arguments.env(), object, &tag, &tagged) != napi_ok || !tagged || napi_unwrap(arguments.env(), object, &native) != napi_ok) {
    arguments.Fail(name, "an object that the addon made for this");
    return nullptr;
  }
  return static_cast<T*>(native);
}

bool Bytes32(Arguments& arguments, const char* name, uint8_t** bytes) {
  size_t size;
  if (!arguments.Bytes(name, X25519::kKeySize, bytes, &size)) return false;
  return size == X25519::kKeySize || arguments.Fail(name, "32 bytes");
}

napi_value Open(napi_env env, napi_callback_info) {
  auto* engine = new (std::nothrow) X25519(&AddonOf(env)->ssl);
  if (engine == nullptr || !engine->Open()) {
    delete engine;
    napi_throw_error(env, nullptr, "this OpenSSL has no X25519");
    return nullptr;
  }
  return Wrap(env, engine, kEngineTag);
}

napi_value Hand(napi_env env, X25519Key* key, uint8_t* public_key) {
  if (key == nullptr || !key->PublicKey(public_key)) {
    delete key;
    napi_throw_error(env, nullptr, "OpenSSL makes no key");
    return nullptr;
  }
  return Wrap(env, key, kKeyTag);
}

/** (engine, public key out): the private key. */
napi_value Generate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto* engine = Unwrap<X25519>(arguments, "engine", kEngineTag);
  uint8_t* public_key;
  if (engine == nullptr || !Bytes32(arguments, "publicKey", &public_key)) return nullptr;
  return Hand(env, engine->Generate(), public_key);
}

/** (engine, secret, public key out): the private key. */
napi_value FromPrivate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto* engine = Unwrap<X25519>(arguments, "engine", kEngineTag);
  uint8_t *secret, *public_key;
  if (engine == nullptr || !Bytes32(arguments, "secret", &secret) || !Bytes32(arguments, "publicKey", &public_key)) return nullptr;
  return Hand(env, engine->FromPrivate(secret), public_key);
}

/** (engine, private key, public key, shared out): whether there is a shared secret. */
napi_value Derive(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto* engine = Unwrap<X25519>(arguments, "engine", kEngineTag);
  auto* key = engine == nullptr ? nullptr : Unwrap<X25519Key>(arguments, "privateKey", kKeyTag);
  uint8_t *public_key, *shared;
  if (key == nullptr || !Bytes32(arguments, "publicKey", &public_key) || !Bytes32(arguments, "shared", &shared)) return nullptr;
  return MakeBoolean(env, engine->Derive(key, public_key, shared));
}

}  // namespace

bool ExportX25519(napi_env env, napi_value exports) {
  return Export(env, exports, "x25519Open", Open) && Export(env, exports, "x25519Generate", Generate) && Export(env, exports, "x25519FromPrivate", FromPrivate) &&
         Export(env, exports, "x25519Derive", Derive);
}

}  // namespace postern
