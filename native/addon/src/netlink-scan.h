#pragma once

#include <cstddef>
#include <cstdint>

namespace postern {

/** What a datagram of rtnetlink says of this machine's addresses and routes. */
struct NetlinkNews {
  /** Something came or went, or was only refreshed: who wants to know looks. */
  bool any = false;
  /** An address or a route that led somewhere is gone: whatever is there now, it is not what was there. */
  bool gone = false;
};

/** Reads messages one after the other, up to the first that is not whole. Any bytes will do. */
NetlinkNews ScanNetlink(const uint8_t* bytes, size_t size);

}  // namespace postern
