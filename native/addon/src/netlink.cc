// Word of the kernel that addresses, routes or links of this machine changed (rtnetlink(7)).
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>

#include "addon.h"
#include "arguments.h"
#include "netlink-scan.h"

namespace postern {

namespace {

constexpr napi_type_tag kTag = {0x3d9a1be67c50f248, 0x94e7c3a5f10b68d2};

/**
 * One netlink socket on the loop of its environment, which it does not keep alive. Its callback is called once for all that waited.
 * Life as that of UdpSocket (udp-socket.h): while the loop has its handle, a reference keeps its object and a hook waits for it.
 */
class NetlinkWatch {
 public:
  explicit NetlinkWatch(napi_env env) : env_(env) {}
  ~NetlinkWatch() {
    if (fd_ >= 0) close(fd_);
  }
  NetlinkWatch(const NetlinkWatch&) = delete;
  NetlinkWatch& operator=(const NetlinkWatch&) = delete;

  int Open();
  int Start(napi_value self, napi_value callback);
  void Close();

 private:
  enum class State { kOpen, kStarted, kClosing, kClosed };
  static constexpr size_t kBufferSize = 32768;
  /** Datagrams in one turn of the loop. */
  static constexpr int kReadsMax = 64;

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle handle, void* data);
  NetlinkNews Read();
  void Call(bool gone);

  napi_env env_;
  int fd_ = -1;
  State state_ = State::kOpen;
  bool torn_down_ = false;
  uv_poll_t poll_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref self_ = nullptr;
  napi_ref callback_ = nullptr;
  alignas(nlmsghdr) uint8_t buffer_[kBufferSize];
};

int NetlinkWatch::Open() {
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd_ < 0) return errno;
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  return bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

int NetlinkWatch::Start(napi_value self, napi_value callback) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return EINVAL;
  if (napi_create_reference(env_, self, 1, &self_) != napi_ok || napi_create_reference(env_, callback, 1, &callback_) != napi_ok) return ENOMEM;
  const int error = uv_poll_init(loop, &poll_, fd_);
  if (error != 0) return -error;
  poll_.data = this;
  state_ = State::kStarted;
  napi_add_async_cleanup_hook(env_, OnTeardown, this, &hook_);
  uv_poll_start(&poll_, UV_READABLE, OnPoll);
  uv_unref(reinterpret_cast<uv_handle_t*>(&poll_));
  return 0;
}

NetlinkNews NetlinkWatch::Read() {
  NetlinkNews all;
  for (int i = 0; i < kReadsMax; i++) {
    sockaddr_nl from = {};
    socklen_t from_size = sizeof from;
    const ssize_t size = recvfrom(fd_, buffer_, sizeof buffer_, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0 && errno == EINTR) continue;
    // More than the socket holds: what was lost may have been anything.
    if (size < 0 && errno == ENOBUFS) all.any = all.gone = true;
    if (size < 0) return all;
    // Any process may send to a netlink socket; the kernel is number 0.
    if (from.nl_pid != 0) continue;
    const NetlinkNews news = ScanNetlink(buffer_, static_cast<size_t>(size));
    all.any |= news.any;
    all.gone |= news.gone;
  }
  return all;
}

void NetlinkWatch::OnPoll(uv_poll_t* poll, int, int) {
  auto* watch = static_cast<NetlinkWatch*>(poll->data);
  const NetlinkNews news = watch->Read();
  napi_handle_scope scope;
  if (!news.any || napi_open_handle_scope(watch->env_, &scope) != napi_ok) return;
  watch->Call(news.gone);
  napi_close_handle_scope(watch->env_, scope);
}

/** What the callback throws is nobody's to catch: it is an uncaught exception, as from any event. */
void NetlinkWatch::Call(bool gone) {
  if (torn_down_ || state_ != State::kStarted) return;
  napi_value callback = nullptr, global = nullptr, result = nullptr;
  if (napi_get_reference_value(env_, callback_, &callback) != napi_ok || callback == nullptr || napi_get_global(env_, &global) != napi_ok) return;
  napi_value argument = MakeBoolean(env_, gone);
  if (napi_make_callback(env_, nullptr, global, callback, 1, &argument, &result) != napi_pending_exception) return;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok && exception != nullptr) napi_fatal_exception(env_, exception);
}

void NetlinkWatch::Close() {
  if (state_ != State::kStarted) return;
  state_ = State::kClosing;
  uv_poll_stop(&poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnClosed);
}

void NetlinkWatch::OnClosed(uv_handle_t* handle) {
  auto* watch = static_cast<NetlinkWatch*>(handle->data);
  const napi_env env = watch->env_;
  close(watch->fd_);
  watch->fd_ = -1;
  watch->state_ = State::kClosed;
  const napi_async_cleanup_hook_handle hook = watch->hook_;
  napi_delete_reference(env, watch->callback_);
  // The object may be collected from here on, and the watch with it: nothing of it is touched below.
  napi_delete_reference(env, watch->self_);
  napi_remove_async_cleanup_hook(hook);
}

void NetlinkWatch::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* watch = static_cast<NetlinkWatch*>(data);
  watch->torn_down_ = true;
  watch->Close();
}

void FreeWatch(napi_env, void* data, void*) {
  delete static_cast<NetlinkWatch*>(data);
}

/** (callback): the watch; `callback(gone)` is called from now on. Throws the system's error. */
napi_value NetlinkOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value callback = nullptr, object = nullptr;
  if (!arguments.Function("callback", &callback)) return nullptr;
  auto* watch = new (std::nothrow) NetlinkWatch(env);
  int error = watch == nullptr ? ENOMEM : watch->Open();
  if (error == 0 && (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, watch, FreeWatch, nullptr, nullptr) != napi_ok)) {
    delete watch;
    return nullptr;
  }
  if (error != 0) {
    delete watch;
  } else {
    // From here on it is freed with its object.
    if (napi_type_tag_object(env, object, &kTag) != napi_ok) return nullptr;
    error = watch->Start(object, callback);
  }
  if (error == 0) return object;
  ThrowErrno(env, "netlinkOpen", error);
  return nullptr;
}

napi_value NetlinkClose(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  bool tagged = false;
  void* watch = nullptr;
  if (!arguments.Value("watch", &object)) return nullptr;
  if (napi_check_object_type_tag(env, object, &kTag, &tagged) != napi_ok || !tagged || napi_unwrap(env, object, &watch) != napi_ok) {
    arguments.Fail("watch", "what netlinkOpen returned");
    return nullptr;
  }
  static_cast<NetlinkWatch*>(watch)->Close();
  return nullptr;
}

}  // namespace

bool ExportNetlink(napi_env env, napi_value exports) {
  return Export(env, exports, "netlinkOpen", NetlinkOpen) && Export(env, exports, "netlinkClose", NetlinkClose);
}

}  // namespace postern
