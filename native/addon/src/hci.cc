// Packets of HCI from and to a Bluetooth controller of the kernel (bluetooth/hci_sock.h): on its user channel with nobody else there, on its raw one beside the kernel.
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>

#include "addon.h"
#include "arguments.h"

namespace postern {

namespace {

constexpr napi_type_tag kTag = {0x6b1f08d3c2a94e75, 0xd27c5a9be1403f86};

// From <bluetooth/bluetooth.h> and <bluetooth/hci.h>, which are not installed everywhere.
constexpr int kAfBluetooth = 31;
constexpr int kProtocolHci = 1;
enum HciKind : int32_t { kRaw = 0, kUser = 1 };
constexpr int kSolHci = 0;
constexpr int kHciFilter = 2;
/** All types of packets and all events; without it a raw socket hears nothing. */
struct HciFilter {
  uint32_t types = UINT32_MAX;
  uint32_t events[2] = {UINT32_MAX, UINT32_MAX};
  uint16_t opcode = 0;
};
struct SockaddrHci {
  sa_family_t family;
  uint16_t device;
  uint16_t channel;
};

/**
 * One user channel on the loop of its environment, which it keeps alive. Its callback gets each packet as bytes of their own, or once the error that ended it.
 * Life as that of NetlinkWatch (netlink.cc): while the loop has its handle, a reference keeps its object and a hook waits for it.
 */
class HciChannel {
 public:
  explicit HciChannel(napi_env env) : env_(env) {}
  ~HciChannel() {
    if (fd_ >= 0) close(fd_);
  }
  HciChannel(const HciChannel&) = delete;
  HciChannel& operator=(const HciChannel&) = delete;

  int Open(uint16_t device, HciKind kind);
  int Start(napi_value self, napi_value callback);
  int Write(const uint8_t* bytes, size_t length);
  void Close();

 private:
  enum class State { kOpen, kStarted, kClosing, kClosed };
  /** A packet of the kernel is one event or one ACL packet: at most 4 + 255, or 5 + what the controller's buffers hold. */
  static constexpr size_t kBufferSize = 4096;
  /** Packets in one turn of the loop. */
  static constexpr int kReadsMax = 64;

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle handle, void* data);
  void Read();
  void CallWithPacket(size_t size);
  void Call(napi_value argument);

  napi_env env_;
  int fd_ = -1;
  State state_ = State::kOpen;
  bool torn_down_ = false;
  uv_poll_t poll_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref self_ = nullptr;
  napi_ref callback_ = nullptr;
  uint8_t buffer_[kBufferSize];
};

int HciChannel::Open(uint16_t device, HciKind kind) {
  fd_ = socket(kAfBluetooth, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, kProtocolHci);
  if (fd_ < 0) return errno;
  const SockaddrHci address = {kAfBluetooth, device, static_cast<uint16_t>(kind)};
  const HciFilter filter;
  if (kind == kRaw && setsockopt(fd_, kSolHci, kHciFilter, &filter, sizeof filter) != 0) return errno;
  return bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

/** Until it has succeeded nothing holds the object: neither a reference nor the loop. */
int HciChannel::Start(napi_value self, napi_value callback) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return EINVAL;
  int error = napi_create_reference(env_, self, 1, &self_) == napi_ok && napi_create_reference(env_, callback, 1, &callback_) == napi_ok ? 0 : ENOMEM;
  if (error == 0) error = -uv_poll_init(loop, &poll_, fd_);
  if (error != 0) {
    for (napi_ref* reference : {&self_, &callback_}) {
      if (*reference != nullptr) napi_delete_reference(env_, *reference);
      *reference = nullptr;
    }
    return error;
  }
  poll_.data = this;
  state_ = State::kStarted;
  napi_add_async_cleanup_hook(env_, OnTeardown, this, &hook_);
  uv_poll_start(&poll_, UV_READABLE, OnPoll);
  return 0;
}

int HciChannel::Write(const uint8_t* bytes, size_t length) {
  if (state_ != State::kStarted) return EBADF;
  for (;;) {
    if (write(fd_, bytes, length) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

void HciChannel::OnPoll(uv_poll_t* poll, int, int) {
  auto* channel = static_cast<HciChannel*>(poll->data);
  napi_handle_scope scope;
  if (napi_open_handle_scope(channel->env_, &scope) != napi_ok) return;
  channel->Read();
  napi_close_handle_scope(channel->env_, scope);
}

void HciChannel::Read() {
  for (int i = 0; i < kReadsMax && state_ == State::kStarted; i++) {
    const ssize_t size = recv(fd_, buffer_, sizeof buffer_, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size > 0) {
      CallWithPacket(static_cast<size_t>(size));
      continue;
    }
    // The controller is gone: nothing comes any more, and the poll would not stop saying so.
    const int error = size == 0 ? ENODEV : errno;
    uv_poll_stop(&poll_);
    Call(MakeInt32(env_, error));
    return;
  }
}

void HciChannel::CallWithPacket(size_t size) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  void* data = nullptr;
  napi_value memory = nullptr, packet = nullptr;
  if (napi_create_arraybuffer(env_, size, &data, &memory) == napi_ok) {
    memcpy(data, buffer_, size);
    if (napi_create_typedarray(env_, napi_uint8_array, size, memory, 0, &packet) == napi_ok) Call(packet);
  }
  napi_close_handle_scope(env_, scope);
}

/** What the callback throws is nobody's to catch: it is an uncaught exception, as from any event. */
void HciChannel::Call(napi_value argument) {
  if (torn_down_ || state_ != State::kStarted) return;
  napi_value callback = nullptr, global = nullptr, result = nullptr;
  if (napi_get_reference_value(env_, callback_, &callback) != napi_ok || callback == nullptr || napi_get_global(env_, &global) != napi_ok) return;
  if (napi_make_callback(env_, nullptr, global, callback, 1, &argument, &result) != napi_pending_exception) return;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok && exception != nullptr) napi_fatal_exception(env_, exception);
}

void HciChannel::Close() {
  if (state_ != State::kStarted) return;
  state_ = State::kClosing;
  uv_poll_stop(&poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnClosed);
}

void HciChannel::OnClosed(uv_handle_t* handle) {
  auto* channel = static_cast<HciChannel*>(handle->data);
  const napi_env env = channel->env_;
  close(channel->fd_);
  channel->fd_ = -1;
  channel->state_ = State::kClosed;
  const napi_async_cleanup_hook_handle hook = channel->hook_;
  napi_delete_reference(env, channel->callback_);
  // The object may be collected from here on, and the channel with it: nothing of it is touched below.
  napi_delete_reference(env, channel->self_);
  napi_remove_async_cleanup_hook(hook);
}

void HciChannel::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* channel = static_cast<HciChannel*>(data);
  channel->torn_down_ = true;
  channel->Close();
}

void FreeChannel(napi_env, void* data, void*) {
  delete static_cast<HciChannel*>(data);
}

HciChannel* ChannelOf(Arguments& arguments) {
  napi_value object = nullptr;
  bool tagged = false;
  void* channel = nullptr;
  if (!arguments.Value("channel", &object)) return nullptr;
  if (napi_check_object_type_tag(arguments.env(), object, &kTag, &tagged) != napi_ok || !tagged || napi_unwrap(arguments.env(), object, &channel) != napi_ok) {
    arguments.Fail("channel", "what hciOpen returned");
    return nullptr;
  }
  return static_cast<HciChannel*>(channel);
}

/** (device, kind, callback): the channel; `callback(packet or error)` is called from now on. Throws the system's error. */
napi_value HciOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int32_t device = 0, kind = 0;
  napi_value callback = nullptr, object = nullptr;
  if (!arguments.Int32("device", 0, 0xfffe, &device) || !arguments.Int32("kind", kRaw, kUser, &kind) || !arguments.Function("callback", &callback)) return nullptr;
  auto* channel = new (std::nothrow) HciChannel(env);
  int error = channel == nullptr ? ENOMEM : channel->Open(static_cast<uint16_t>(device), static_cast<HciKind>(kind));
  if (error == 0 && (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, channel, FreeChannel, nullptr, nullptr) != napi_ok)) {
    delete channel;
    return nullptr;
  }
  if (error != 0) {
    delete channel;
  } else {
    // From here on it is freed with its object.
    if (napi_type_tag_object(env, object, &kTag) != napi_ok) return nullptr;
    error = channel->Start(object, callback);
    // Its adapter is given back at once, not when the object is collected.
    if (error != 0 && napi_remove_wrap(env, object, nullptr) == napi_ok) delete channel;
  }
  if (error == 0) return object;
  ThrowErrno(env, "hciOpen", error);
  return nullptr;
}

/** (channel, packet): 0 or the system's error. */
napi_value HciWrite(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  HciChannel* channel = ChannelOf(arguments);
  uint8_t* bytes = nullptr;
  size_t length = 0;
  if (channel == nullptr || !arguments.Bytes("packet", 1, &bytes, &length)) return nullptr;
  return MakeInt32(env, channel->Write(bytes, length));
}

napi_value HciClose(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  HciChannel* channel = ChannelOf(arguments);
  if (channel != nullptr) channel->Close();
  return nullptr;
}

}  // namespace

bool ExportHci(napi_env env, napi_value exports) {
  return Export(env, exports, "hciOpen", HciOpen) && Export(env, exports, "hciWrite", HciWrite) && Export(env, exports, "hciClose", HciClose);
}

}  // namespace postern
