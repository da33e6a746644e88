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
         Find("EVP_DecryptUpdate", &decrypt_update) && Find("EVP_DecryptFinal_ex", &decrypt_final) && Find("EVP_MAC_fetch", &mac_fetch) &&
         Find("EVP_MAC_free", &mac_free) && Find("EVP_MAC_CTX_new", &mac_context_new) && Find("EVP_MAC_CTX_free", &mac_context_free) && Find("EVP_MAC_init", &mac_init) &&
         Find("EVP_MAC_update", &mac_update) && Find("EVP_MAC_final", &mac_final) && Find("CRYPTO_memcmp", &equal) && Find("EVP_PKEY_CTX_new_from_name", &pkey_context_named) &&
         Find("EVP_PKEY_CTX_new_from_pkey", &pkey_context_new) && Find("EVP_PKEY_CTX_free", &pkey_context_free) &&
         Find("EVP_PKEY_new_raw_private_key_ex", &pkey_from_private) && Find("EVP_PKEY_new_raw_public_key_ex", &pkey_from_public) &&
         Find("EVP_PKEY_get_raw_public_key", &pkey_get_public) && Find("EVP_PKEY_set1_encoded_public_key", &pkey_set_public) &&
         Find("EVP_PKEY_free", &pkey_free) && Find("EVP_PKEY_keygen_init", &keygen_init) && Find("EVP_PKEY_generate", &pkey_generate) &&
         Find("EVP_PKEY_derive_init", &derive_init) && Find("EVP_PKEY_derive_set_peer_ex", &derive_set_peer) &&
         Find("EVP_PKEY_derive", &derive) && Find("EVP_MD_fetch", &digest_fetch) && Find("EVP_MD_free", &digest_free) && Find("EVP_MD_CTX_new", &digest_context_new) &&
         Find("EVP_MD_CTX_free", &digest_context_free) && Find("EVP_DigestInit_ex2", &digest_init) && Find("EVP_DigestUpdate", &digest_update) &&
         Find("EVP_DigestFinal_ex", &digest_final) && Find("ERR_clear_error", &error_clear) && Find("OPENSSL_cleanse", &cleanse);
}

}  // namespace postern
