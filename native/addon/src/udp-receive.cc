// Datagrams in: recvmmsg over slots of the slab, a row for each message.
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "udp-constants.h"
#include "udp-socket.h"

namespace postern {

void UdpSocket::Receive() {
  for (int batch = 0; batch < kBatchesMax && state_ == State::kStarted; batch++) {
    void* arena;
    size_t size;
    if (!arena_.Read(env_, napi_uint8_array, static_cast<size_t>(slab_offset_) + slots_ * kSlotSize, &arena, &size)) return Call(kError, UV_EFAULT, 0);
    auto* slab = static_cast<uint8_t*>(arena) + slab_offset_;
    for (int i = 0; i < slots_; i++) {
      in_bytes_[i] = {slab + i * kSlotSize, kSlotSize};
      msghdr& header = in_[i].msg_hdr;
      header = {};
      header.msg_name = &in_from_[i];
      header.msg_namelen = sizeof in_from_[i];
      header.msg_iov = &in_bytes_[i];
      header.msg_iovlen = 1;
      header.msg_control = in_control_[i];
      header.msg_controllen = sizeof in_control_[i];
    }
    const int messages = recvmmsg(fd_, in_, slots_, MSG_DONTWAIT, nullptr);
    if (messages < 0) {
      if (errno == EINTR || IsLate(errno)) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) Call(kError, uv_translate_sys_error(errno), 0);
      return;
    }
    int32_t dropped = 0;
    const int32_t rows = Describe(messages, static_cast<uint8_t*>(arena), &dropped);
    if (rows < 0) return Call(kError, UV_EFAULT, 0);
    Call(kReceived, rows, dropped);
    if (messages < slots_) return;
  }
}

int32_t UdpSocket::Describe(int messages, const uint8_t* arena, int32_t* dropped) {
  void *address, *offset, *length, *segment, *ecn, *local;
  size_t size;
  const size_t rows = messages;
  if (!receive_address_.Read(env_, napi_uint8_array, rows * kAddressSize, &address, &size) || !receive_offset_.Read(env_, napi_int32_array, rows, &offset, &size) ||
      !receive_length_.Read(env_, napi_int32_array, rows, &length, &size) || !receive_segment_.Read(env_, napi_int32_array, rows, &segment, &size) ||
      !receive_ecn_.Read(env_, napi_uint8_array, rows, &ecn, &size) || !receive_local_.Read(env_, napi_uint8_array, rows, &local, &size)) {
    return -1;
  }
  int32_t row = 0;
  for (int i = 0; i < messages; i++) {
    const auto bytes = static_cast<int32_t>(in_[i].msg_len);
    msghdr& header = in_[i].msg_hdr;
    if (bytes == 0 || (header.msg_flags & MSG_TRUNC) != 0) {
      (*dropped)++;
      continue;
    }
    int32_t gro = 0;
    uint8_t traffic = 0;
    uint8_t own = 0;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
      int32_t word = 0;
      if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO && control->cmsg_len >= CMSG_LEN(sizeof word)) {
        memcpy(&gro, CMSG_DATA(control), sizeof gro);
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_TOS) {
        memcpy(&traffic, CMSG_DATA(control), 1);
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_TCLASS && control->cmsg_len >= CMSG_LEN(sizeof word)) {
        memcpy(&word, CMSG_DATA(control), sizeof word);
        traffic = static_cast<uint8_t>(word);
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO && control->cmsg_len >= CMSG_LEN(sizeof(in6_pktinfo))) {
        in6_pktinfo to;
        memcpy(&to, CMSG_DATA(control), sizeof to);
        own = LocalOf(to.ipi6_addr.s6_addr, to.ipi6_ifindex);
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO && control->cmsg_len >= CMSG_LEN(sizeof(in_pktinfo))) {
        in_pktinfo to;
        memcpy(&to, CMSG_DATA(control), sizeof to);
        uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        memcpy(mapped + 12, &to.ipi_spec_dst, 4);
        own = LocalOf(mapped, 0);
      }
    }
    Source(in_from_[i], static_cast<uint8_t*>(address) + row * kAddressSize);
    NoteScope(in_from_[i]);
    static_cast<int32_t*>(offset)[row] = static_cast<int32_t>(static_cast<const uint8_t*>(in_bytes_[i].iov_base) - arena);
    static_cast<int32_t*>(length)[row] = bytes;
    static_cast<int32_t*>(segment)[row] = gro > 0 && gro < bytes ? gro : bytes;
    static_cast<uint8_t*>(ecn)[row] = traffic & 3;
    static_cast<uint8_t*>(local)[row] = own;
    row++;
  }
  return row;
}

uint8_t UdpSocket::LocalOf(const uint8_t* address, uint32_t interface) {
  const bool multicast = IsMapped(address) ? (address[12] & 0xf0) == 0xe0 || address[12] == 0xff : address[0] == 0xff;
  if (multicast) return 0;
  const uint32_t scope = IsLinkLocal(address) ? interface : 0;
  const auto same = [&](const Own& own) { return memcmp(own.address, address, sizeof own.address) == 0 && own.scope == scope; };
  int number = last_local_;
  if (number == 0 || !same(locals_[number])) {
    for (number = 1; number <= locals_used_ && !same(locals_[number]);) number++;
    if (number > kLocalsMax) return 0;
    if (number > locals_used_) {
      locals_used_ = number;
      memcpy(locals_[number].address, address, sizeof locals_[number].address);
      locals_[number].scope = scope;
    }
    last_local_ = number;
  }
  locals_[number].gone = false;
  return static_cast<uint8_t>(number);
}

/** Of what came in by an interface, not of what ICMP says about one: that anybody can forge. */
void UdpSocket::NoteScope(const sockaddr_storage& from) {
  if (from.ss_family != AF_INET6) return;
  const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
  if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr)) scope_ = six.sin6_scope_id;
}

void UdpSocket::Source(const sockaddr_storage& from, uint8_t* address) {
  uint16_t port;
  if (from.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
    memcpy(address, &six.sin6_addr, 16);
    port = ntohs(six.sin6_port);
  } else {
    const auto& four = reinterpret_cast<const sockaddr_in&>(from);
    memset(address, 0, 10);
    memset(address + 10, 0xff, 2);
    memcpy(address + 12, &four.sin_addr, 4);
    port = ntohs(four.sin_port);
  }
  address[16] = port & 0xff;
  address[17] = port >> 8;
}

}  // namespace postern
