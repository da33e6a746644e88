// Making a UDP socket, and finding out what its kernel can do.
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "udp-constants.h"
#include "udp-socket.h"

namespace postern {

bool IsMapped(const uint8_t* address) {
  static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(address, kPrefix, sizeof kPrefix) == 0;
}

bool IsLinkLocal(const uint8_t* address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

UdpSocket::~UdpSocket() {
  // Started or closing it cannot be: see the class.
  if (fd_ >= 0) close(fd_);
}

int UdpSocket::Open(const uint8_t* address, int family, int32_t wanted, int32_t receive_buffer, int32_t send_buffer) {
  family_ = family == 6 ? AF_INET6 : AF_INET;
  if (family_ == AF_INET && !IsMapped(address)) return EAFNOSUPPORT;
  fd_ = socket(family_, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  if (family_ == AF_INET6 && !Set(IPPROTO_IPV6, IPV6_V6ONLY, (wanted & kOnly6) != 0)) return errno;
  // Cut to rmem_max and wmem_max in silence; what was given is read back.
  Set(SOL_SOCKET, SO_RCVBUF, receive_buffer);
  Set(SOL_SOCKET, SO_SNDBUF, send_buffer);
  // A socket that is bound to one address has no choice.
  static constexpr uint8_t kAny6[16] = {};
  const bool any = family_ == AF_INET6 ? memcmp(address, kAny6, sizeof kAny6) == 0 : memcmp(address + 12, kAny6, 4) == 0;
  Configure(any ? wanted : wanted & ~kPacketInfo);
  sockaddr_storage local;
  socklen_t size = 0;
  if (!Destination(address, &local, &size)) return EAFNOSUPPORT;
  if (bind(fd_, reinterpret_cast<sockaddr*>(&local), size) != 0) return errno;
  return 0;
}

/** Each feature on its own: what a kernel refuses is left out and not reported among the features. */
void UdpSocket::Configure(int32_t wanted) {
  const bool six = family_ == AF_INET6;
  const bool four = !six || (wanted & kOnly6) == 0;
  if ((wanted & kGso) != 0) {
    int segment = 0;
    socklen_t size = sizeof segment;
    if (getsockopt(fd_, SOL_UDP, UDP_SEGMENT, &segment, &size) == 0) features_ |= kGso;
  }
  if ((wanted & kGro) != 0 && Set(SOL_UDP, UDP_GRO, 1)) features_ |= kGro;
  if ((wanted & kEcn) != 0 && (!four || Set(IPPROTO_IP, IP_RECVTOS, 1)) && (!six || Set(IPPROTO_IPV6, IPV6_RECVTCLASS, 1))) features_ |= kEcn;
  // Of both families by the one of IPv6, where the socket is of that: IPv4 addresses come and go in their mapped form.
  if ((wanted & kPacketInfo) != 0 && (six ? Set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : Set(IPPROTO_IP, IP_PKTINFO, 1))) features_ |= kPacketInfo;
  if ((wanted & kErrorQueue) != 0 && (!four || Set(IPPROTO_IP, IP_RECVERR, 1)) && (!six || Set(IPPROTO_IPV6, IPV6_RECVERR, 1))) features_ |= kErrorQueue;
  // PROBE: nothing is fragmented, here or on the way, and the kernel's own idea of the path's MTU, which anybody can forge by ICMP,
  // refuses nothing. Path MTU discovery by probes (RFC 8899) needs just that.
  if ((wanted & kDontFragment) != 0 && (!four || Set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)) &&
      (!six || (Set(IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) && Set(IPPROTO_IPV6, IPV6_DONTFRAG, 1)))) {
    features_ |= kDontFragment;
  }
}

bool UdpSocket::Local(uint8_t* address) const {
  sockaddr_storage local;
  socklen_t size = sizeof local;
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&local), &size) != 0) return false;
  uint16_t port;
  if (local.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(local);
    memcpy(address, &six.sin6_addr, 16);
    port = ntohs(six.sin6_port);
  } else {
    const auto& four = reinterpret_cast<const sockaddr_in&>(local);
    memset(address, 0, 10);
    memset(address + 10, 0xff, 2);
    memcpy(address + 12, &four.sin_addr, 4);
    port = ntohs(four.sin_port);
  }
  address[16] = port & 0xff;
  address[17] = port >> 8;
  return true;
}

int32_t UdpSocket::BufferSize(int option) const {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd_, SOL_SOCKET, option, &value, &size) == 0 ? value : 0;
}

}  // namespace postern
