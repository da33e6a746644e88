// What routers and hosts on the way say of datagrams that went out (ICMP), by the socket's error queue.
#include <netinet/ip.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "udp-constants.h"
#include "udp-socket.h"

namespace postern {

namespace {

/** `struct sock_extended_err` of linux/errqueue.h, which not every C library brings. */
struct ExtendedError {
  uint32_t error;
  uint8_t origin, type, code, pad;
  uint32_t info, data;
};

constexpr uint8_t kOriginIcmp = 2;
constexpr uint8_t kOriginIcmp6 = 3;
/** Time exceeded, in RFC 792 and RFC 4443: a router counted a datagram out that was to come no further, or there is a loop, of which nothing follows here. */
constexpr uint8_t kTimeExceeded = 11;
constexpr uint8_t kTimeExceeded6 = 3;

bool IsOfNoUse(const ExtendedError& what) {
  if (what.origin == kOriginIcmp) return what.type == kTimeExceeded;
  // What this machine refused itself was told by the send.
  return what.origin != kOriginIcmp6 || what.type == kTimeExceeded6;
}

}  // namespace

bool UdpSocket::IsLate(int error) const {
  if ((features_ & kErrorQueue) == 0) return false;
  switch (error) {
    case ECONNREFUSED: case EHOSTUNREACH: case ENETUNREACH: case EMSGSIZE: case EPROTO: case ENOPROTOOPT: case EOPNOTSUPP: case EHOSTDOWN: case ENONET: case EACCES:
      return true;
    default:
      return false;
  }
}

int32_t UdpSocket::ReadErrors() {
  void *hints, *addresses;
  size_t size;
  const bool told = hints_.Read(env_, napi_int32_array, kHintsMax * kHintInts, &hints, &size) && hint_addresses_.Read(env_, napi_uint8_array, kHintsMax * kAddressSize, &addresses, &size);
  int32_t count = 0;
  // Bounded: what is left shows in the next turn of the loop.
  for (int i = 0; i < kHintsMax; i++) {
    char payload[1];
    iovec bytes = {payload, sizeof payload};
    sockaddr_storage to = {};
    alignas(cmsghdr) char control[512];
    msghdr header = {};
    header.msg_name = &to;
    header.msg_namelen = sizeof to;
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    if (recvmsg(fd_, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) break;
    for (cmsghdr* message = CMSG_FIRSTHDR(&header); message != nullptr; message = CMSG_NXTHDR(&header, message)) {
      const bool error = (message->cmsg_level == IPPROTO_IP && message->cmsg_type == IP_RECVERR) || (message->cmsg_level == IPPROTO_IPV6 && message->cmsg_type == IPV6_RECVERR);
      ExtendedError what;
      if (!error || message->cmsg_len < CMSG_LEN(sizeof what)) continue;
      memcpy(&what, CMSG_DATA(message), sizeof what);
      if (IsOfNoUse(what) || !told || (to.ss_family != AF_INET && to.ss_family != AF_INET6)) continue;
      auto* row = static_cast<int32_t*>(hints) + count * kHintInts;
      row[0] = uv_translate_sys_error(static_cast<int>(what.error & 0xffff));
      row[1] = what.error == EMSGSIZE ? static_cast<int32_t>(what.info & 0xffff) : 0;
      Source(to, static_cast<uint8_t*>(addresses) + count * kAddressSize);
      count++;
      break;
    }
  }
  return count;
}

}  // namespace postern
