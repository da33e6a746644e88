// libFuzzer: what the kernel, or somebody who plays it, may write into a netlink socket.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../addon/src/netlink-scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const postern::NetlinkNews news = postern::ScanNetlink(data, size);
  // Gone without anything having come would be a report out of nothing.
  if (news.gone && !news.any) abort();
  return 0;
}
