// TCP sockets on a port that is shared with the listener: bound here, connected and listened on by Node.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "addon.h"
#include "arguments.h"
#include "udp-socket.h"

namespace postern {

namespace {

enum BindMode : int32_t { kListener = 0, kDialer = 1 };

bool Set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/** The address of `bytes` (core/base/address.ts) in a family. */
socklen_t MakeAddress(const uint8_t* bytes, int family, sockaddr_storage* out) {
  const auto port = static_cast<uint16_t>(bytes[16] | bytes[17] << 8);
  memset(out, 0, sizeof *out);
  if (family == AF_INET6) {
    auto* six = reinterpret_cast<sockaddr_in6*>(out);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    memcpy(&six->sin6_addr, bytes, 16);
    return sizeof *six;
  }
  auto* four = reinterpret_cast<sockaddr_in*>(out);
  four->sin_family = AF_INET;
  four->sin_port = htons(port);
  memcpy(&four->sin_addr, bytes + 12, 4);
  return sizeof *four;
}

/**
 * Opens and binds: a descriptor, or the error in `error`. A listener takes its port as its only owner and lets it be shared only
 * afterwards: so it is refused where another program listens, and our own dials, which ask to share before they bind, are not.
 */
int Bind(const uint8_t* address, int family, bool only6, BindMode mode, int* error) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    *error = errno;
    return -1;
  }
  sockaddr_storage to;
  const socklen_t size = MakeAddress(address, family, &to);
  const bool bound = (family != AF_INET6 || Set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only6)) && Set(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
                     (mode == kListener || Set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) && bind(fd, reinterpret_cast<const sockaddr*>(&to), size) == 0 &&
                     (mode == kDialer || Set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
  if (bound) return fd;
  *error = errno;
  close(fd);
  return -1;
}

/** (address, family 4 or 6, only IPv6, mode): a descriptor, which is the caller's; throws the system's error. */
napi_value TcpBind(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint8_t* address;
  size_t size;
  int32_t family, only6, mode;
  if (!arguments.Bytes("address", kAddressSize, &address, &size) || !arguments.Int32("family", 4, 6, &family) || !arguments.Int32("only6", 0, 1, &only6) ||
      !arguments.Int32("mode", kListener, kDialer, &mode)) {
    return nullptr;
  }
  int error = 0;
  const int fd = Bind(address, family == 6 ? AF_INET6 : AF_INET, only6 == 1, static_cast<BindMode>(mode), &error);
  if (fd >= 0) return MakeInt32(env, fd);
  ThrowErrno(env, "bind", error);
  return nullptr;
}

}  // namespace

bool ExportTcp(napi_env env, napi_value exports) {
  return Export(env, exports, "tcpBind", TcpBind);
}

}  // namespace postern
