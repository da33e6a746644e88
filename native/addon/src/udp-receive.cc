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
      if (errno == EINTR) continue;
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
  void *address, *offset, *length, *segment, *ecn;
  size_t size;
  const size_t rows = messages;
  if (!receive_address_.Read(env_, napi_uint8_array, rows * kAddressSize, &address, &size) || !receive_offset_.Read(env_, napi_int32_array, rows, &offset, &size) ||
      !receive_length_.Read(env_, napi_int32_array, rows, &length, &size) || !receive_segment_.Read(env_, napi_int32_array, rows, &segment, &size) ||
      !receive_ecn_.Read(env_, napi_uint8_array, rows, &ecn, &size)) {
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
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
      int32_t word = 0;
      if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO && control->cmsg_len >= CMSG_LEN(sizeof word)) {
        memcpy(&gro, CMSG_DATA(control), sizeof gro);
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_TOS) {
        memcpy(&traffic, CMSG_DATA(control), 1);
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_TCLASS && control->cmsg_len >= CMSG_LEN(sizeof word)) {
        memcpy(&word, CMSG_DATA(control), sizeof word);
        traffic = static_cast<uint8_t>(word);
      }
    }
    Source(in_from_[i], static_cast<uint8_t*>(address) + row * kAddressSize);
    static_cast<int32_t*>(offset)[row] = static_cast<int32_t>(static_cast<const uint8_t*>(in_bytes_[i].iov_base) - arena);
    static_cast<int32_t*>(length)[row] = bytes;
    static_cast<int32_t*>(segment)[row] = gro > 0 && gro < bytes ? gro : bytes;
    static_cast<uint8_t*>(ecn)[row] = traffic & 3;
    row++;
  }
  return row;
}

void UdpSocket::Source(const sockaddr_storage& from, uint8_t* address) {
  uint16_t port;
  if (from.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
    memcpy(address, &six.sin6_addr, 16);
    port = ntohs(six.sin6_port);
    if (IsLinkLocal(address)) scope_ = six.sin6_scope_id;
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
