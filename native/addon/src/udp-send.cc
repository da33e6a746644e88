// Datagrams out: bursts of equal segments as one message each (GSO), several messages a call.
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "udp-constants.h"
#include "udp-socket.h"

namespace postern {

namespace {

constexpr int32_t kSingle = 1 << 16;
constexpr int32_t kLocalShift = 17;
constexpr int32_t kUnpinned = 1 << 25;

/** Appends a control message of one integer. */
template <typename T>
void Append(msghdr* header, size_t capacity, int level, int type, T value) {
  if (header->msg_controllen + CMSG_SPACE(sizeof value) > capacity) return;
  auto* control = reinterpret_cast<cmsghdr*>(static_cast<char*>(header->msg_control) + header->msg_controllen);
  control->cmsg_level = level;
  control->cmsg_type = type;
  control->cmsg_len = CMSG_LEN(sizeof value);
  memcpy(CMSG_DATA(control), &value, sizeof value);
  header->msg_controllen += CMSG_SPACE(sizeof value);
}

/** The counts are JavaScript's memory: whatever it has put there, adding to it is defined. */
void Add(int32_t* count, int32_t more) {
  *count = static_cast<int32_t>(static_cast<uint32_t>(*count) + static_cast<uint32_t>(more));
}

void Fail(SendRow* row, int32_t bytes, int32_t datagrams, int error) {
  Add(&row->offset, bytes);
  row->left -= bytes;
  Add(&row->failed_datagrams, datagrams);
  row->error = uv_translate_sys_error(error);
}

/** Whether an error may be about the burst and not about its datagrams. */
bool MayBeTheBurst(int error) {
  return error == EINVAL || error == EIO || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

}  // namespace

int32_t UdpSocket::Send(int32_t head, int32_t count) {
  void *rows_data, *addresses, *arena;
  size_t ints, address_bytes, arena_size;
  if (state_ != State::kStarted || !rows_.Read(env_, napi_int32_array, kRowInts, &rows_data, &ints) || !addresses_.Read(env_, napi_uint8_array, kAddressSize, &addresses, &address_bytes) ||
      !arena_.Read(env_, napi_uint8_array, 1, &arena, &arena_size)) {
    return 0;
  }
  auto* rows = static_cast<SendRow*>(rows_data);
  auto capacity = static_cast<int32_t>(ints / kRowInts);
  if (static_cast<size_t>(capacity) > address_bytes / kAddressSize) capacity = static_cast<int32_t>(address_bytes / kAddressSize);
  if (head >= capacity || count > capacity) return 0;
  int32_t done = 0;
  bool late = false;
  for (;;) {
    while (done < count && rows[(head + done) % capacity].left <= 0) done++;
    if (done == count) return done;
    const int32_t messages = Plan(rows, static_cast<uint8_t*>(addresses), capacity, head, done, count, static_cast<uint8_t*>(arena), arena_size);
    // The rows that were no rows have failed, and the others were not reached.
    if (messages == 0) continue;
    const int sent = sendmmsg(fd_, out_, messages, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      // Said once of each error: the second time it is about this very datagram.
      late = !late && IsLate(errno);
      if (late) continue;
      if (!Refused(rows, errno)) {
        Arm(UV_READABLE | UV_WRITABLE);
        return done;
      }
      continue;
    }
    late = false;
    for (int i = 0; i < sent; i++) {
      const Planned& planned = planned_[i];
      SendRow& row = rows[planned.row];
      row.offset += planned.bytes;
      row.left -= planned.bytes;
      Add(&row.sent_datagrams, planned.datagrams);
      Add(&row.sent_bytes, planned.bytes);
      if ((row.flags & kSingle) != 0 && row.left <= 0 && row.failed_datagrams == 0 && ++gso_refusals_ >= kRefusalsMax) features_ &= ~kGso;
    }
  }
}

int32_t UdpSocket::Plan(SendRow* rows, const uint8_t* addresses, int32_t capacity, int32_t head, int32_t from, int32_t count, uint8_t* arena, size_t arena_size) {
  int32_t messages = 0;
  for (int32_t i = from; i < count && messages < kMessagesMax; i++) {
    const int32_t index = (head + i) % capacity;
    SendRow& row = rows[index];
    const uint8_t* address = addresses + index * kAddressSize;
    if (row.left <= 0) continue;
    // Checked in TypeScript; here so that no mistake there reads beyond the arena.
    const bool whole = row.offset >= 0 && row.segment_size > 0 && row.segment_size <= kPayloadMax && static_cast<size_t>(row.offset) + row.left <= arena_size;
    if (!whole || !Destination(address, &out_to_[messages], &out_[messages].msg_hdr.msg_namelen)) {
      // Whatever is planned already goes first, so that rows are done in order.
      if (messages > 0) return messages;
      Fail(&row, row.left, whole ? (row.left - 1) / row.segment_size + 1 : 1, whole ? EAFNOSUPPORT : EINVAL);
      return 0;
    }
    const bool burst = (features_ & kGso) != 0 && (row.flags & kSingle) == 0;
    int32_t most = row.segment_size;
    if (burst) {
      int32_t segments = kPayloadMax / row.segment_size;
      if (segments > kSegmentsMax) segments = kSegmentsMax;
      most *= segments;
    }
    for (int32_t planned = 0; planned < row.left && messages < kMessagesMax;) {
      const int32_t bytes = row.left - planned < most ? row.left - planned : most;
      planned_[messages] = {index, bytes, (bytes - 1) / row.segment_size + 1};
      PrepareMessage(messages, row, address, arena + row.offset + planned, planned_[messages]);
      messages++;
      planned += bytes;
    }
  }
  return messages;
}

void UdpSocket::PrepareMessage(int index, const SendRow& row, const uint8_t* address, uint8_t* bytes, const Planned& planned) {
  constexpr size_t kControlSize = sizeof out_control_[0];
  msghdr& header = out_[index].msg_hdr;
  header = {};
  header.msg_name = &out_to_[index];
  Destination(address, &out_to_[index], &header.msg_namelen);
  out_bytes_[index] = {bytes, static_cast<size_t>(planned.bytes)};
  header.msg_iov = &out_bytes_[index];
  header.msg_iovlen = 1;
  header.msg_control = out_control_[index];
  header.msg_controllen = 0;
  const bool four = family_ == AF_INET || IsMapped(address);
  const int32_t ecn = row.flags & 3;
  const int32_t ttl = (row.flags >> 8) & 0xff;
  if (planned.datagrams > 1) Append(&header, kControlSize, SOL_UDP, UDP_SEGMENT, static_cast<uint16_t>(row.segment_size));
  if (ecn != 0) Append(&header, kControlSize, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_TOS : IPV6_TCLASS, ecn);
  if (ttl != 0) Append(&header, kControlSize, four ? IPPROTO_IP : IPPROTO_IPV6, four ? IP_TTL : IPV6_HOPLIMIT, ttl);
  if (const Own* own = Pinned(row); own != nullptr) {
    if (family_ == AF_INET6 && four == IsMapped(own->address)) {
      in6_pktinfo from = {};
      memcpy(&from.ipi6_addr, own->address, sizeof own->address);
      from.ipi6_ifindex = own->scope;
      Append(&header, kControlSize, IPPROTO_IPV6, IPV6_PKTINFO, from);
    } else if (family_ == AF_INET) {
      in_pktinfo from = {};
      memcpy(&from.ipi_spec_dst, own->address + 12, 4);
      Append(&header, kControlSize, IPPROTO_IP, IP_PKTINFO, from);
    }
  }
  if (header.msg_controllen == 0) header.msg_control = nullptr;
}

const UdpSocket::Own* UdpSocket::Pinned(const SendRow& row) const {
  const int number = (row.flags >> kLocalShift) & 0xff;
  if (number == 0 || number > locals_used_ || locals_[number].gone) return nullptr;
  return &locals_[number];
}

bool UdpSocket::Destination(const uint8_t* address, sockaddr_storage* to, socklen_t* size) const {
  const auto port = static_cast<uint16_t>(address[16] | address[17] << 8);
  if (family_ == AF_INET6) {
    sockaddr_in6 six = {};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    memcpy(&six.sin6_addr, address, 16);
    if (IsLinkLocal(address)) six.sin6_scope_id = scope_;
    memcpy(to, &six, sizeof six);
    *size = sizeof six;
    return true;
  }
  if (!IsMapped(address)) return false;
  sockaddr_in four = {};
  four.sin_family = AF_INET;
  four.sin_port = htons(port);
  memcpy(&four.sin_addr, address + 12, 4);
  memcpy(to, &four, sizeof four);
  *size = sizeof four;
  return true;
}

bool UdpSocket::Refused(SendRow* rows, int error) {
  if (error == EAGAIN || error == EWOULDBLOCK) return false;
  if (error == EINTR) return true;
  const Planned& first = planned_[0];
  SendRow& row = rows[first.row];
  if (const Own* own = Pinned(row); own != nullptr && (error == EINVAL || error == EADDRNOTAVAIL)) {
    // The address is gone: the route decides, as if nothing had been asked for.
    locals_[own - locals_].gone = true;
    row.flags |= kUnpinned;
    return true;
  }
  if (first.datagrams > 1 && MayBeTheBurst(error)) {
    row.flags |= kSingle;
    // The way out cannot checksum segments (a tunnel, IPsec): that is the machine, not this burst.
    if (error == EIO) features_ &= ~kGso;
    return true;
  }
  Fail(&row, first.bytes, first.datagrams, error);
  return true;
}

}  // namespace postern
