// libFuzzer: rows and pieces of any content over a slab of any content, which must be refused or done, and give back what was sealed.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../addon/src/aead.h"
#include "../addon/src/openssl.h"

using postern::Aead;
using postern::AeadPieces;
using postern::AeadResult;
using postern::AeadRows;

namespace {

constexpr int32_t kRowsMax = 16;
constexpr int32_t kPiecesMax = 8;

template <typename T>
T Take(const uint8_t** data, size_t* size) {
  T value = {};
  const size_t count = *size < sizeof value ? *size : sizeof value;
  memcpy(&value, *data, count);
  *data += count;
  *size -= count;
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static postern::OpenSsl ssl;
  static const bool ready = ssl.Resolve();
  if (!ready) abort();
  Aead aead(&ssl);
  if (!aead.Open()) abort();
  const uint8_t key[Aead::kKeySize] = {1};
  const int32_t slots = Take<uint8_t>(&data, &size) % 40;
  for (int32_t i = 0; i < slots; i++) aead.AddKey(key);
  if (slots > 2) aead.RemoveKey(Take<uint8_t>(&data, &size) % slots);
  const int32_t count = Take<uint8_t>(&data, &size) % (kRowsMax + 1);
  int32_t slot[kRowsMax], offset[kRowsMax], length[kRowsMax];
  double counter[kRowsMax];
  for (int32_t i = 0; i < count; i++) {
    // Half of the rows have numbers that mean something.
    const bool plain = (Take<uint8_t>(&data, &size) & 1) != 0;
    slot[i] = plain ? Take<uint8_t>(&data, &size) % 40 : Take<int32_t>(&data, &size);
    offset[i] = plain ? Take<uint16_t>(&data, &size) : Take<int32_t>(&data, &size);
    length[i] = plain ? Take<uint16_t>(&data, &size) : Take<int32_t>(&data, &size);
    counter[i] = plain ? Take<uint32_t>(&data, &size) : Take<double>(&data, &size);
  }
  const int32_t parts = Take<uint8_t>(&data, &size) % (kPiecesMax + 1);
  int32_t end[kRowsMax], to[kPiecesMax], from[kPiecesMax], part[kPiecesMax];
  for (int32_t i = 0; i < count; i++) end[i] = (Take<uint8_t>(&data, &size) & 1) != 0 ? parts : Take<int8_t>(&data, &size);
  for (int32_t i = 0; i < parts; i++) {
    const bool plain = (Take<uint8_t>(&data, &size) & 1) != 0;
    to[i] = plain ? Take<uint16_t>(&data, &size) : Take<int32_t>(&data, &size);
    from[i] = plain ? Take<uint16_t>(&data, &size) : Take<int32_t>(&data, &size);
    part[i] = plain ? Take<uint8_t>(&data, &size) : Take<int32_t>(&data, &size);
  }
  // On the heap and no longer than it says, so that one byte beyond is found.
  std::vector<uint8_t> slab(data, data + size), before = slab;
  const AeadRows rows = {count, slot, counter, offset, length};
  const AeadPieces pieces = {static_cast<size_t>(parts), end, to, from, part};
  const AeadResult sealed = aead.SealBatch(slab.data(), slab.size(), rows, pieces);
  if ((sealed == AeadResult::kBadRow || sealed == AeadResult::kNoKey) && slab != before) abort();
  aead.OpenBatch(slab.data(), slab.size(), rows);
  // One row by itself comes back as it was: the others may have lain over each other.
  if (sealed == AeadResult::kDone && count == 1 && parts == 0 && (length[0] < 0 || memcmp(slab.data() + offset[0], before.data() + offset[0], length[0]) != 0)) abort();
  return 0;
}
