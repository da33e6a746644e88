#pragma once

#include <node_api.h>

#include "openssl.h"

namespace postern {

/** What one environment (the main thread, or a worker) has of the addon: its instance data, freed with it. Nothing is global. */
struct Addon {
  OpenSsl ssl;
  bool has_ssl = false;
};

Addon* AddonOf(napi_env env);

/** Adds a function to `exports`; false leaves an exception pending. */
bool Export(napi_env env, napi_value exports, const char* name, napi_callback function);

bool ExportAead(napi_env env, napi_value exports);
bool ExportHash(napi_env env, napi_value exports);
bool ExportX25519(napi_env env, napi_value exports);
bool ExportSystem(napi_env env, napi_value exports);
#ifdef POSTERN_LINUX
bool ExportUdp(napi_env env, napi_value exports);
bool ExportTcp(napi_env env, napi_value exports);
bool ExportNetlink(napi_env env, napi_value exports);
bool ExportHci(napi_env env, napi_value exports);
#endif

}  // namespace postern
