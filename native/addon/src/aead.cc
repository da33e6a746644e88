#include "aead.h"

#include <cstdlib>
#include <cstring>

namespace postern {

namespace {

constexpr uint8_t kZero[32] = {};
constexpr double kCounterMax = 9007199254740991.0;
constexpr int32_t kFirstSlots = 16;
/** Pieces of a row are read where they lie when they are longer than this on average. */
constexpr int32_t kPieceLarge = 4096;

void WriteNonce(uint64_t counter, uint8_t nonce[Aead::kNonceSize]) {
  for (int i = 4; i < 12; i++, counter >>= 8) nonce[i] = static_cast<uint8_t>(counter);
}

/**
 * Visits the plaintext of a row part by part, in order: what stands in the row, and pieces from elsewhere. `use(at, part, length)` gets the
 * offset within the row; false from it ends the visit.
 */
template <typename Use>
bool EachPart(const uint8_t* bytes, const AeadRows& rows, const AeadPieces& pieces, int32_t row, Use use) {
  const int32_t offset = rows.offset[row];
  const int32_t last = pieces.count == 0 ? 0 : pieces.end[row];
  int32_t at = 0;
  for (int32_t i = row == 0 || last == 0 ? 0 : pieces.end[row - 1]; i < last; i++) {
    const int32_t to = pieces.to[i] - offset;
    if (to > at && !use(at, bytes + offset + at, to - at)) return false;
    if (!use(to, bytes + pieces.from[i], pieces.length[i])) return false;
    at = to + pieces.length[i];
  }
  return at == rows.length[row] || use(at, bytes + offset + at, rows.length[row] - at);
}

/**
 * Copies the pieces of a row to their places when they are small: a part that ends within a block of the cipher costs OpenSSL about 500 ns
 * more, a copy of 100 bytes 5. False: they are large, or there are none, and lie where they lay.
 */
bool GatherSmall(uint8_t* bytes, const AeadRows& rows, const AeadPieces& pieces, int32_t row) {
  if (pieces.count == 0) return false;
  const int32_t first = row == 0 ? 0 : pieces.end[row - 1];
  const int32_t last = pieces.end[row];
  if (static_cast<int64_t>(last - first) * kPieceLarge <= rows.length[row]) return false;
  for (int32_t i = first; i < last; i++) memmove(bytes + pieces.to[i], bytes + pieces.from[i], pieces.length[i]);
  return true;
}

}  // namespace

Aead::~Aead() {
  // OpenSSL overwrites what its contexts hold when it frees them.
  if (seal_ != nullptr) ssl_->context_free(seal_);
  if (open_ != nullptr) ssl_->context_free(open_);
  if (cipher_ != nullptr) ssl_->cipher_free(cipher_);
  if (keys_ != nullptr) ssl_->cleanse(keys_, capacity_ * kKeySize);
  free(keys_);
  free(next_free_);
}

bool Aead::Open() {
  cipher_ = ssl_->cipher_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  seal_ = ssl_->context_new();
  open_ = ssl_->context_new();
  const bool ready = cipher_ != nullptr && seal_ != nullptr && open_ != nullptr && ssl_->encrypt_init(seal_, cipher_, kZero, kZero, nullptr) == 1 &&
                     ssl_->decrypt_init(open_, cipher_, kZero, kZero, nullptr) == 1 && short_seal_.Open() && short_open_.Open();
  if (!ready) ssl_->error_clear();
  return ready;
}

int32_t Aead::AddKey(const uint8_t* key) {
  if (first_free_ == capacity_ && !Grow()) return -1;
  const int32_t slot = first_free_;
  first_free_ = next_free_[slot];
  next_free_[slot] = kNone;
  memcpy(keys_ + slot * kKeySize, key, kKeySize);
  return slot;
}

bool Aead::RemoveKey(int32_t slot) {
  if (slot < 0 || slot >= capacity_ || next_free_[slot] != kNone) return false;
  ssl_->cleanse(keys_ + slot * kKeySize, kKeySize);
  if (seal_slot_ == slot) ForgetSealKey();
  if (open_slot_ == slot) ForgetOpenKey();
  if (short_seal_slot_ == slot) short_seal_.Forget(), short_seal_slot_ = kNone;
  if (short_open_slot_ == slot) short_open_.Forget(), short_open_slot_ = kNone;
  next_free_[slot] = first_free_;
  first_free_ = slot;
  return true;
}

bool Aead::Grow() {
  const int32_t capacity = capacity_ == 0 ? kFirstSlots : 2 * capacity_;
  if (capacity > kSlotsMax) return false;
  auto* keys = static_cast<uint8_t*>(calloc(capacity, kKeySize));
  auto* next_free = static_cast<int32_t*>(calloc(capacity, sizeof(int32_t)));
  if (keys == nullptr || next_free == nullptr) {
    free(keys);
    free(next_free);
    return false;
  }
  if (keys_ != nullptr) {
    memcpy(keys, keys_, capacity_ * kKeySize);
    memcpy(next_free, next_free_, capacity_ * sizeof(int32_t));
    ssl_->cleanse(keys_, capacity_ * kKeySize);
  }
  for (int32_t slot = capacity_; slot < capacity; slot++) next_free[slot] = slot + 1;
  free(keys_);
  free(next_free_);
  keys_ = keys;
  next_free_ = next_free;
  // The old end of the list was the old capacity: it is the first of the new slots now.
  first_free_ = capacity_;
  capacity_ = capacity;
  return true;
}

AeadResult Aead::Check(size_t size, const AeadRows& rows) const {
  for (int32_t i = 0; i < rows.count; i++) {
    const int32_t slot = rows.key[i];
    if (slot < 0 || slot >= capacity_ || next_free_[slot] != kNone) return AeadResult::kNoKey;
    const int64_t offset = rows.offset[i];
    const int64_t length = rows.length[i];
    if (offset < 0 || length < 0 || offset + length + static_cast<int64_t>(kTagSize) > static_cast<int64_t>(size)) return AeadResult::kBadRow;
    // Written so that NaN fails.
    if (!(rows.counter[i] >= 0 && rows.counter[i] <= kCounterMax)) return AeadResult::kBadRow;
  }
  return AeadResult::kDone;
}

bool Aead::CheckPieces(size_t size, const AeadRows& rows, const AeadPieces& pieces) {
  if (pieces.count == 0) return true;
  int32_t first = 0;
  for (int32_t row = 0; row < rows.count; row++) {
    const int32_t last = pieces.end[row];
    if (last < first || static_cast<size_t>(last) > pieces.count) return false;
    int64_t at = rows.offset[row];
    const int64_t end = at + rows.length[row];
    for (; first < last; first++) {
      const int64_t length = pieces.length[first];
      const int64_t from = pieces.from[first];
      if (length < 0 || from < 0 || from + length > static_cast<int64_t>(size) || pieces.to[first] < at || pieces.to[first] + length > end) return false;
      at = pieces.to[first] + length;
    }
  }
  return true;
}

AeadResult Aead::SealBatch(uint8_t* bytes, size_t size, const AeadRows& rows, const AeadPieces& pieces) {
  const AeadResult checked = Check(size, rows);
  if (checked != AeadResult::kDone) return checked;
  if (!CheckPieces(size, rows, pieces)) return AeadResult::kBadRow;
  for (int32_t i = 0; i < rows.count; i++) {
    if (SealRow(bytes, rows, pieces, i)) continue;
    // Nothing a peer can cause. What is not sealed must not leave in clear.
    ssl_->cleanse(bytes + rows.offset[i], rows.length[i] + kTagSize);
    seal_slot_ = short_seal_slot_ = kNone;
    ssl_->error_clear();
    return AeadResult::kRefused;
  }
  return AeadResult::kDone;
}

AeadResult Aead::OpenBatch(uint8_t* bytes, size_t size, const AeadRows& rows) {
  const AeadResult checked = Check(size, rows);
  if (checked != AeadResult::kDone) return checked;
  bool failed = false;
  for (int32_t i = 0; i < rows.count; i++) {
    if (OpenRow(rows.key[i], static_cast<uint64_t>(rows.counter[i]), bytes + rows.offset[i], rows.length[i])) continue;
    rows.length[i] = -1;
    failed = true;
    // It may have been the key that was not taken.
    open_slot_ = short_open_slot_ = kNone;
  }
  // A queue of errors that nobody reads would be found by the next caller of OpenSSL in this thread, which is node itself.
  if (failed) ssl_->error_clear();
  return AeadResult::kDone;
}

const uint8_t* Aead::Changed(int32_t slot, int32_t* held) const {
  if (*held == slot) return nullptr;
  *held = slot;
  return keys_ + slot * kKeySize;
}

bool Aead::SealRow(uint8_t* bytes, const AeadRows& rows, const AeadPieces& pieces, int32_t row) {
  uint8_t* text = bytes + rows.offset[row];
  const int32_t length = rows.length[row];
  const int32_t slot = rows.key[row];
  const auto counter = static_cast<uint64_t>(rows.counter[row]);
  if (length <= ShortAead::kLengthMax) {
    EachPart(bytes, rows, pieces, row, [this](int32_t at, const uint8_t* part, int32_t size) {
      memcpy(short_seal_.Plaintext() + at, part, size);
      return true;
    });
    return short_seal_.Seal(Changed(slot, &short_seal_slot_), counter, length, text);
  }
  uint8_t nonce[kNonceSize] = {};
  WriteNonce(counter, nonce);
  int written = 0;
  const auto encrypt = [this, text, &written](int32_t at, const uint8_t* part, int32_t size) { return ssl_->encrypt_update(seal_, text + at, &written, part, size) == 1; };
  const bool gathered = GatherSmall(bytes, rows, pieces, row);
  return ssl_->encrypt_init(seal_, nullptr, Changed(slot, &seal_slot_), nonce, nullptr) == 1 &&
         (gathered ? encrypt(0, text, length) : EachPart(bytes, rows, pieces, row, encrypt)) &&
         ssl_->encrypt_final(seal_, text + length, &written) == 1 && ssl_->context_ctrl(seal_, kGetTag, kTagSize, text + length) == 1;
}

/** Not verified, not opened: tags are compared in constant time. */
bool Aead::OpenRow(int32_t slot, uint64_t counter, uint8_t* text, int32_t length) {
  if (length <= ShortAead::kLengthMax) return short_open_.Open(Changed(slot, &short_open_slot_), counter, text, length);
  uint8_t nonce[kNonceSize] = {};
  WriteNonce(counter, nonce);
  int written = 0;
  return ssl_->decrypt_init(open_, nullptr, Changed(slot, &open_slot_), nonce, nullptr) == 1 && ssl_->context_ctrl(open_, kSetTag, kTagSize, text + length) == 1 &&
         ssl_->decrypt_update(open_, text, &written, text, length) == 1 && ssl_->decrypt_final(open_, text + length, &written) == 1;
}

bool Aead::Seal(const uint8_t* key, const uint8_t* nonce, const uint8_t* associated, size_t associated_size, const uint8_t* plaintext, size_t size, uint8_t* out) {
  int written = 0;
  bool sealed = ssl_->encrypt_init(seal_, nullptr, key, nonce, nullptr) == 1;
  if (associated_size > 0) sealed = sealed && ssl_->encrypt_update(seal_, nullptr, &written, associated, static_cast<int>(associated_size)) == 1;
  if (size > 0) sealed = sealed && ssl_->encrypt_update(seal_, out, &written, plaintext, static_cast<int>(size)) == 1;
  sealed = sealed && ssl_->encrypt_final(seal_, out + size, &written) == 1;
  sealed = sealed && ssl_->context_ctrl(seal_, kGetTag, kTagSize, out + size) == 1;
  ForgetSealKey();
  if (!sealed) {
    ssl_->cleanse(out, size + kTagSize);
    ssl_->error_clear();
  }
  return sealed;
}

bool Aead::Open(const uint8_t* key, const uint8_t* nonce, const uint8_t* associated, size_t associated_size, const uint8_t* sealed, size_t size, uint8_t* out) {
  const size_t length = size - kTagSize;
  int written = 0;
  uint8_t tag[kTagSize];
  memcpy(tag, sealed + length, kTagSize);
  bool opened = ssl_->decrypt_init(open_, nullptr, key, nonce, nullptr) == 1;
  opened = opened && ssl_->context_ctrl(open_, kSetTag, kTagSize, tag) == 1;
  if (associated_size > 0) opened = opened && ssl_->decrypt_update(open_, nullptr, &written, associated, static_cast<int>(associated_size)) == 1;
  if (length > 0) opened = opened && ssl_->decrypt_update(open_, out, &written, sealed, static_cast<int>(length)) == 1;
  opened = opened && ssl_->decrypt_final(open_, out + length, &written) == 1;
  ForgetOpenKey();
  if (!opened) {
    ssl_->cleanse(out, length);
    ssl_->error_clear();
  }
  return opened;
}

void Aead::ForgetSealKey() {
  ssl_->encrypt_init(seal_, nullptr, kZero, kZero, nullptr);
  seal_slot_ = kNone;
}

void Aead::ForgetOpenKey() {
  ssl_->decrypt_init(open_, nullptr, kZero, kZero, nullptr);
  open_slot_ = kNone;
}

}  // namespace postern
