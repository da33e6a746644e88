#include "addon.h"

#include <new>

#include "arguments.h"

namespace postern {

namespace {

/** Raised when what JavaScript calls or how changes; platform/addon.ts refuses a build of another number. */
constexpr int32_t kInterface = 15;

void Free(napi_env, void* data, void*) {
  delete static_cast<Addon*>(data);
}

}  // namespace

Addon* AddonOf(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Addon*>(data);
}

bool Export(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value = nullptr;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value) == napi_ok && napi_set_named_property(env, exports, name, value) == napi_ok;
}

}  // namespace postern

NAPI_MODULE_INIT() {
  using namespace postern;
  auto* addon = new (std::nothrow) Addon();
  if (addon == nullptr || napi_set_instance_data(env, addon, Free, nullptr) != napi_ok) {
    delete addon;
    napi_throw_error(env, nullptr, "the addon has no memory");
    return nullptr;
  }
  addon->has_ssl = addon->ssl.Resolve();
  if (napi_set_named_property(env, exports, "interface", MakeInt32(env, kInterface)) != napi_ok) return nullptr;
  if (addon->has_ssl && (!ExportAead(env, exports) || !ExportX25519(env, exports) || !ExportHash(env, exports))) return nullptr;
  if (!ExportSystem(env, exports)) return nullptr;
#ifdef POSTERN_LINUX
  if (!ExportUdp(env, exports) || !ExportTcp(env, exports) || !ExportNetlink(env, exports) || !ExportHci(env, exports)) return nullptr;
#endif
  return exports;
}
