#pragma once

#include <cstddef>
#include <cstdint>

#include "aead-short.h"
#include "openssl.h"

namespace postern {

/** What a batch says of its rows (core/crypto/aead-batch.ts). */
struct AeadRows {
  int32_t count;
  const int32_t* key;
  const double* counter;
  const int32_t* offset;
  int32_t* length;
};

/**
 * Parts of the plaintexts that lie elsewhere in the same memory. Row i has those from `end[i - 1]` to `end[i]`, in order of `to` and
 * without overlap.
 */
struct AeadPieces {
  size_t count;
  const int32_t* end;
  const int32_t* to;
  const int32_t* from;
  const int32_t* length;
};

enum class AeadResult { kDone, kBadRow, kNoKey, kRefused };

/**
 * ChaCha20-Poly1305 (RFC 8439) over OpenSSL: one context per direction and kind of row, rekeyed when the session changes, and raw keys
 * in slots. Two contexts for each session would cost 2 KiB each and are slower as soon as sessions are many. Rows of ordinary size
 * go through {@link ShortAead}, longer ones and those with associated data through OpenSSL's own composition.
 */
class Aead {
 public:
  static constexpr size_t kKeySize = 32;
  static constexpr size_t kNonceSize = 12;
  static constexpr size_t kTagSize = 16;
  /** 1 GiB of keys: more is a bug of the caller. */
  static constexpr int32_t kSlotsMax = 1 << 25;

  explicit Aead(const OpenSsl* ssl) : ssl_(ssl), short_seal_(ssl), short_open_(ssl) {}
  ~Aead();
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  /** False where this OpenSSL does not offer the cipher (a FIPS configuration). */
  bool Open();

  /** The slot of the copied key, -1 when there is no memory. */
  int32_t AddKey(const uint8_t* key);
  /** Overwrites the key. False for a slot that is not in use. */
  bool RemoveKey(int32_t slot);

  /** All rows are looked at before the first byte is changed. Nonce: 00000000 | counter u64 LE; no associated data. */
  AeadResult SealBatch(uint8_t* bytes, size_t size, const AeadRows& rows, const AeadPieces& pieces);
  /** A row whose tag does not verify gets the length -1. */
  AeadResult OpenBatch(uint8_t* bytes, size_t size, const AeadRows& rows);

  /** One message under any key, which is forgotten afterwards. `out` has room for the tag, and may be `plaintext`. */
  bool Seal(const uint8_t* key, const uint8_t* nonce, const uint8_t* associated, size_t associated_size, const uint8_t* plaintext, size_t size, uint8_t* out);
  /** `size` counts the tag; false, and `out` overwritten, when it does not verify. */
  bool Open(const uint8_t* key, const uint8_t* nonce, const uint8_t* associated, size_t associated_size, const uint8_t* sealed, size_t size, uint8_t* out);

 private:
  static constexpr int32_t kNone = -1;

  bool SealRow(uint8_t* bytes, const AeadRows& rows, const AeadPieces& pieces, int32_t row);
  bool OpenRow(int32_t slot, uint64_t counter, uint8_t* text, int32_t length);
  /** The key of the slot, or nullptr when the context holds it already: the nonce alone is cheaper. */
  const uint8_t* Changed(int32_t slot, int32_t* held) const;
  AeadResult Check(size_t size, const AeadRows& rows) const;
  static bool CheckPieces(size_t size, const AeadRows& rows, const AeadPieces& pieces);
  bool Grow();
  void ForgetSealKey();
  void ForgetOpenKey();

  const OpenSsl* ssl_;
  void* cipher_ = nullptr;
  void* seal_ = nullptr;
  void* open_ = nullptr;
  ShortAead short_seal_;
  ShortAead short_open_;
  /** The slot whose key each context holds, or kNone. */
  int32_t seal_slot_ = kNone;
  int32_t open_slot_ = kNone;
  int32_t short_seal_slot_ = kNone;
  int32_t short_open_slot_ = kNone;
  uint8_t* keys_ = nullptr;
  /** Per slot: kNone while it is in use, else the next free slot or capacity_. */
  int32_t* next_free_ = nullptr;
  int32_t capacity_ = 0;
  int32_t first_free_ = 0;
};

}  // namespace postern
