#pragma once

#include <netinet/in.h>
#include <node_api.h>
#include <sys/socket.h>
#include <uv.h>

#include <cstddef>
#include <cstdint>

namespace postern {

/** As JavaScript has it (core/base/address.ts): 16 bytes of IPv6 or v4-mapped address, the port as u16 little endian. */
constexpr size_t kAddressSize = 18;

/** What is asked of a socket, and what it really does. */
enum UdpFeature : int32_t { kGso = 1, kGro = 2, kEcn = 4, kDontFragment = 8, kOnly6 = 16, kPacketInfo = 32, kErrorQueue = 64 };

/** A typed array of JavaScript that outlives the call it was given in. */
class HeldArray {
 public:
  bool Hold(napi_env env, napi_value value);
  void Release(napi_env env);
  /** Looked up anew each time: JavaScript may have detached its memory, and then it has none. */
  bool Read(napi_env env, napi_typedarray_type type, size_t minimum, void** data, size_t* size) const;

 private:
  napi_ref reference_ = nullptr;
};

/** One row to send, as it lies in the ring that is shared with JavaScript (src/net/udp-native.ts). */
struct SendRow {
  int32_t offset;
  /** Bytes that the kernel has not taken. */
  int32_t left;
  int32_t segment_size;
  /**
   * Bits 0–1: ECN. Bits 8–15: TTL, 0 for the socket's own. Bit 16: one segment a call, since the kernel refused a burst. Bits 17–24: which of our addresses it leaves
   * from, by its number in received rows, 0 for what the route says. Bit 25: it left from there all the same, since the address is gone.
   */
  int32_t flags;
  int32_t sent_datagrams;
  int32_t sent_bytes;
  int32_t failed_datagrams;
  /** Of the last that failed, as JavaScript knows it (uv_translate_sys_error: negative), else 0. */
  int32_t error;
};

constexpr int32_t kRowInts = sizeof(SendRow) / sizeof(int32_t);

/** What the callback's first argument says. */
enum UdpEvent : int32_t { kReceived = 0, kWritable = 1, kError = 2, kClosed = 3, kHinted = 4 };

/** What ICMP said of one destination: its error as JavaScript knows it, and the largest packet that passes, 0 where that was not it. */
constexpr int32_t kHintInts = 2;
constexpr int32_t kHintsMax = 16;

/**
 * One bound UDP socket on the loop of its environment: recvmmsg with GRO into the driver's slab, one callback a batch; sendmmsg with
 * GSO out of the slabs that are sent. Knows nothing of links and sessions, and keeps no datagram.
 *
 * Life: open, started, closing, closed. From start to closed the loop has its handle and the environment a cleanup hook, and a
 * reference keeps its JavaScript object alive; so it is freed only before start or after closed.
 */
class UdpSocket {
 public:
  explicit UdpSocket(napi_env env) : env_(env) {}
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  /** Opens and binds: 0 or errno. */
  int Open(const uint8_t* address, int family, int32_t wanted, int32_t receive_buffer, int32_t send_buffer);
  bool Local(uint8_t* address) const;
  int32_t BufferSize(int option) const;
  int32_t features() const { return features_; }

  struct Shared {
    napi_value self, callback, arena, receive_address, receive_offset, receive_length, receive_segment, receive_ecn, receive_local, rows, addresses, hints, hint_addresses;
    int32_t slab_offset, slab_size;
  };
  /** Messages that fit into a slab of this size, and are received at once. */
  static int SlotsOf(int32_t slab_size) { return slab_size / kSlotSize < kSlotsMax ? slab_size / kSlotSize : kSlotsMax; }
  /** From now on the callback is called. 0 or errno; started before or closed: EINVAL. */
  int Start(const Shared& shared);
  /** Sends rows of the ring in order, from `head`: how many are done with. Fewer than `count`: the kernel is full, kWritable follows. */
  int32_t Send(int32_t head, int32_t count);
  /** No callback comes any more, but kClosed. */
  void Close();

 private:
  static constexpr int kSlotSize = 65536;
  static constexpr int kSlotsMax = 16;
  /** Batches in one turn of the loop, so that the rest of the program gets its turn, too. */
  static constexpr int kBatchesMax = 4;
  static constexpr int kMessagesMax = 16;
  static constexpr int32_t kSegmentsMax = 64;
  /** RFC 768 over IPv4: a burst is no longer either, since the kernel builds it as one datagram first. */
  static constexpr int32_t kPayloadMax = 65507;
  /** Bursts refused whose single datagrams then went: so many, and no burst is tried again. */
  static constexpr int kRefusalsMax = 16;

  static constexpr int kLocalsMax = 255;

  /** An address of this machine that datagrams came to. */
  struct Own {
    uint8_t address[16];
    /** Its interface, where the address alone does not say it. */
    uint32_t scope;
    /** The kernel does not send from there; until something comes in there again. */
    bool gone;
  };

  enum class State { kOpen, kStarted, kClosing, kClosed };

  /** What one call of sendmmsg is to send: `bytes` of the row `row`. */
  struct Planned {
    int32_t row, bytes, datagrams;
  };

  bool Set(int level, int option, int value) const { return setsockopt(fd_, level, option, &value, sizeof value) == 0; }
  void Configure(int32_t wanted);

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle handle, void* data);
  void Call(UdpEvent event, int32_t value, int32_t extra);
  void Arm(int events);

  void Receive();
  /** Rows of what arrived: how many; `dropped` counts what is not worth one. */
  int32_t Describe(int messages, const uint8_t* arena, int32_t* dropped);
  static void Source(const sockaddr_storage& from, uint8_t* address);
  void NoteScope(const sockaddr_storage& from);
  /** The number of the address that a datagram came to, 1 and up; 0: nobody can answer from there, or there are too many. */
  uint8_t LocalOf(const uint8_t* address, uint32_t interface);
  /** The address of this row to leave from, if it has one that is there. */
  const Own* Pinned(const SendRow& row) const;

  /** Empties the error queue, as far as it is short, into the hints: how many came by ICMP. */
  int32_t ReadErrors();
  /** Whether a call may have failed for an earlier datagram: with an error queue, what ICMP said fails the next call, whatever that is. */
  bool IsLate(int error) const;

  int32_t Plan(SendRow* rows, const uint8_t* addresses, int32_t capacity, int32_t head, int32_t from, int32_t count, uint8_t* arena, size_t arena_size);
  void PrepareMessage(int index, const SendRow& row, const uint8_t* address, uint8_t* bytes, const Planned& planned);
  bool Destination(const uint8_t* address, sockaddr_storage* to, socklen_t* size) const;
  /** The first planned message was refused. False: wait until the socket is writable. */
  bool Refused(SendRow* rows, int error);

  napi_env env_;
  int fd_ = -1;
  int family_ = 0;
  int32_t features_ = 0;
  State state_ = State::kOpen;
  bool torn_down_ = false;
  /** Interface of the last link-local source: addresses of JavaScript have no room for one (src/net/address-cache.ts). */
  uint32_t scope_ = 0;
  int gso_refusals_ = 0;
  /** By number, from 1. When all are taken, further ones have none: the kernel chooses, as it does without this. */
  Own locals_[kLocalsMax + 1];
  int locals_used_ = 0;
  int last_local_ = 0;
  uv_poll_t poll_;
  int armed_ = 0;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref self_ = nullptr;
  napi_ref callback_ = nullptr;

  HeldArray arena_, receive_address_, receive_offset_, receive_length_, receive_segment_, receive_ecn_, receive_local_, rows_, addresses_, hints_, hint_addresses_;
  int32_t slab_offset_ = 0;
  int slots_ = 0;

  mmsghdr in_[kSlotsMax];
  iovec in_bytes_[kSlotsMax];
  sockaddr_storage in_from_[kSlotsMax];
  alignas(cmsghdr) char in_control_[kSlotsMax][128];

  mmsghdr out_[kMessagesMax];
  iovec out_bytes_[kMessagesMax];
  sockaddr_storage out_to_[kMessagesMax];
  alignas(cmsghdr) char out_control_[kMessagesMax][128];
  Planned planned_[kMessagesMax];
};

/** Whether the 16 bytes are ::ffff:a.b.c.d. */
bool IsMapped(const uint8_t* address);
bool IsLinkLocal(const uint8_t* address);

}  // namespace postern
