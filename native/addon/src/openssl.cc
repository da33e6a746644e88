#include "openssl.h"

#include <dlfcn.h>

namespace postern {

namespace {

template <typename F>
bool Find(const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  return *function != nullptr;
}

}  // namespace

bool OpenSsl::Resolve() {
  unsigned long (*version)() = nullptr;
  if (!Find("OpenSSL_version_num", &version) || version() < 0x30000000UL) return false;
  return Find("EVP_CIPHER_fetch", &cipher_fetch) && Find("EVP_CIPHER_free", &cipher_free) && Find("EVP_CIPHER_CTX_new", &context_new) &&
         Find("EVP_CIPHER_CTX_free", &context_free) && Find("EVP_CIPHER_CTX_ctrl", &context_ctrl) && Find("EVP_EncryptInit_ex2", &encrypt_init) &&
         Find("EVP_EncryptUpdate", &encrypt_update) && Find("EVP_EncryptFinal_ex", &encrypt_final) && Find("EVP_DecryptInit_ex2", &decrypt_init) &&
         Find("EVP_DecryptUpdate", &decrypt_update) && Find("EVP_DecryptFinal_ex", &decrypt_final) && Find("ERR_clear_error", &error_clear) &&
         Find("OPENSSL_cleanse", &cleanse);
}

}  // namespace postern
