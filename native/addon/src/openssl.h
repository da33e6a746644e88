#pragma once

#include <cstddef>

namespace postern {

/**
 * The few functions of OpenSSL 3 that are used, looked up in the running process. Node exports those of the OpenSSL inside it (or
 * depends on a shared one); where there is none of them (Electron has BoringSSL) this says so instead of failing to load.
 * Declared here by hand: the headers beside an installed node are those of one version, and these signatures are stable ABI.
 */
struct OpenSsl {
  void* (*cipher_fetch)(void* library, const char* algorithm, const char* properties);
  void (*cipher_free)(void* cipher);
  void* (*context_new)();
  void (*context_free)(void* context);
  int (*context_ctrl)(void* context, int type, int argument, void* pointer);
  int (*encrypt_init)(void* context, const void* cipher, const unsigned char* key, const unsigned char* nonce, const void* parameters);
  int (*encrypt_update)(void* context, unsigned char* out, int* written, const unsigned char* in, int length);
  int (*encrypt_final)(void* context, unsigned char* out, int* written);
  int (*decrypt_init)(void* context, const void* cipher, const unsigned char* key, const unsigned char* nonce, const void* parameters);
  int (*decrypt_update)(void* context, unsigned char* out, int* written, const unsigned char* in, int length);
  int (*decrypt_final)(void* context, unsigned char* out, int* written);
  void* (*mac_fetch)(void* library, const char* algorithm, const char* properties);
  void (*mac_free)(void* mac);
  void* (*mac_context_new)(void* mac);
  void (*mac_context_free)(void* context);
  int (*mac_init)(void* context, const unsigned char* key, size_t length, const void* parameters);
  int (*mac_update)(void* context, const unsigned char* data, size_t length);
  int (*mac_final)(void* context, unsigned char* out, size_t* written, size_t size);
  /** 0 when they are equal, in constant time. */
  int (*equal)(const void* one, const void* other, size_t length);
  void* (*pkey_context_named)(void* library, const char* name, const char* properties);
  void* (*pkey_context_new)(void* library, void* pkey, const char* properties);
  void (*pkey_context_free)(void* context);
  void* (*pkey_from_private)(void* library, const char* type, const char* properties, const unsigned char* key, size_t length);
  void* (*pkey_from_public)(void* library, const char* type, const char* properties, const unsigned char* key, size_t length);
  int (*pkey_get_public)(const void* pkey, unsigned char* out, size_t* length);
  int (*pkey_set_public)(void* pkey, const unsigned char* key, size_t length);
  void (*pkey_free)(void* pkey);
  int (*keygen_init)(void* context);
  int (*pkey_generate)(void* context, void** pkey);
  int (*derive_init)(void* context);
  int (*derive_set_peer)(void* context, void* peer, int validate);
  int (*derive)(void* context, unsigned char* out, size_t* length);
  void* (*digest_fetch)(void* library, const char* algorithm, const char* properties);
  void (*digest_free)(void* digest);
  void* (*digest_context_new)();
  void (*digest_context_free)(void* context);
  int (*digest_init)(void* context, const void* digest, const void* parameters);
  int (*digest_update)(void* context, const void* in, size_t length);
  int (*digest_final)(void* context, unsigned char* out, unsigned int* written);
  void (*error_clear)();
  void (*cleanse)(void* memory, size_t length);

  /** False when one of them is missing or the OpenSSL is older than 3. */
  bool Resolve();
};

/** EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of openssl/evp.h. */
constexpr int kGetTag = 0x10;
constexpr int kSetTag = 0x11;

}  // namespace postern
