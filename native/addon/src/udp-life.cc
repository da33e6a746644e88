// From start to closed: the loop's handle, the callback, and the end of the environment.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "arguments.h"
#include "udp-socket.h"

namespace postern {

bool HeldArray::Hold(napi_env env, napi_value value) {
  return napi_create_reference(env, value, 1, &reference_) == napi_ok;
}

void HeldArray::Release(napi_env env) {
  if (reference_ != nullptr) napi_delete_reference(env, reference_);
  reference_ = nullptr;
}

bool HeldArray::Read(napi_env env, napi_typedarray_type type, size_t minimum, void** data, size_t* size) const {
  napi_value value = nullptr;
  return reference_ != nullptr && napi_get_reference_value(env, reference_, &value) == napi_ok && value != nullptr && ReadTypedArray(env, value, type, data, size) &&
         *size >= minimum;
}

int UdpSocket::Start(const Shared& shared) {
  if (state_ != State::kOpen || fd_ < 0) return EINVAL;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return EINVAL;
  slab_offset_ = shared.slab_offset;
  slots_ = SlotsOf(shared.slab_size);
  if (slots_ < 1) return EINVAL;
  const bool held = napi_create_reference(env_, shared.self, 1, &self_) == napi_ok && napi_create_reference(env_, shared.callback, 1, &callback_) == napi_ok &&
                    arena_.Hold(env_, shared.arena) && receive_address_.Hold(env_, shared.receive_address) && receive_offset_.Hold(env_, shared.receive_offset) &&
                    receive_length_.Hold(env_, shared.receive_length) && receive_segment_.Hold(env_, shared.receive_segment) &&
                    receive_ecn_.Hold(env_, shared.receive_ecn) && receive_local_.Hold(env_, shared.receive_local) && rows_.Hold(env_, shared.rows) && addresses_.Hold(env_, shared.addresses) &&
                    hints_.Hold(env_, shared.hints) && hint_addresses_.Hold(env_, shared.hint_addresses);
  if (!held) return ENOMEM;
  const int error = uv_poll_init(loop, &poll_, fd_);
  if (error != 0) return -error;
  poll_.data = this;
  state_ = State::kStarted;
  napi_add_async_cleanup_hook(env_, OnTeardown, this, &hook_);
  Arm(UV_READABLE);
  return 0;
}

void UdpSocket::Arm(int events) {
  if (state_ != State::kStarted || armed_ == events) return;
  armed_ = events;
  uv_poll_start(&poll_, events, OnPoll);
}

void UdpSocket::OnPoll(uv_poll_t* poll, int status, int events) {
  auto* socket = static_cast<UdpSocket*>(poll->data);
  napi_handle_scope scope;
  if (napi_open_handle_scope(socket->env_, &scope) != napi_ok) return;
  if (status == UV_EBADF && (socket->features_ & kErrorQueue) != 0) {
    // So libuv reports POLLERR, and watches no more: errors wait in the queue. A descriptor that is bad in truth shows when it is read from.
    const int armed = socket->armed_;
    socket->armed_ = 0;
    socket->Arm(armed);
    const int32_t hints = socket->ReadErrors();
    if (hints > 0) socket->Call(kHinted, hints, 0);
    if (socket->state_ == State::kStarted) socket->Receive();
  } else if (status < 0) {
    socket->Call(kError, status, 0);
  } else {
    if ((events & UV_WRITABLE) != 0) {
      socket->Arm(UV_READABLE);
      socket->Call(kWritable, 0, 0);
    }
    // An error that waits in the socket comes as readable, and receiving tells which.
    if ((events & UV_READABLE) != 0) socket->Receive();
  }
  napi_close_handle_scope(socket->env_, scope);
}

/** What the callback throws is nobody's to catch: it is an uncaught exception, as from any event. */
void UdpSocket::Call(UdpEvent event, int32_t value, int32_t extra) {
  if (torn_down_ || (state_ != State::kStarted && event != kClosed)) return;
  napi_value callback = nullptr, global = nullptr, result = nullptr;
  if (napi_get_reference_value(env_, callback_, &callback) != napi_ok || callback == nullptr || napi_get_global(env_, &global) != napi_ok) return;
  napi_value arguments[3] = {MakeInt32(env_, event), MakeInt32(env_, value), MakeInt32(env_, extra)};
  if (napi_make_callback(env_, nullptr, global, callback, 3, arguments, &result) != napi_pending_exception) return;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok && exception != nullptr) napi_fatal_exception(env_, exception);
}

void UdpSocket::Close() {
  if (state_ == State::kOpen) {
    state_ = State::kClosed;
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  if (state_ != State::kStarted) return;
  state_ = State::kClosing;
  uv_poll_stop(&poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnClosed);
}

void UdpSocket::OnClosed(uv_handle_t* handle) {
  auto* socket = static_cast<UdpSocket*>(handle->data);
  const napi_env env = socket->env_;
  // Not before: the loop had the descriptor among those it waits for.
  close(socket->fd_);
  socket->fd_ = -1;
  socket->state_ = State::kClosed;
  const napi_async_cleanup_hook_handle hook = socket->hook_;
  napi_handle_scope scope;
  if (!socket->torn_down_ && napi_open_handle_scope(env, &scope) == napi_ok) {
    socket->Call(kClosed, 0, 0);
    napi_close_handle_scope(env, scope);
  }
  for (HeldArray* array : {&socket->arena_, &socket->receive_address_, &socket->receive_offset_, &socket->receive_length_, &socket->receive_segment_, &socket->receive_ecn_,
                           &socket->receive_local_, &socket->rows_, &socket->addresses_, &socket->hints_, &socket->hint_addresses_}) {
    array->Release(env);
  }
  napi_delete_reference(env, socket->callback_);
  // The object may be collected from here on, and the socket with it: nothing of it is touched below.
  napi_delete_reference(env, socket->self_);
  napi_remove_async_cleanup_hook(hook);
}

/** The environment ends (process.exit, a worker terminated): it waits until the hook is removed, which OnClosed does. */
void UdpSocket::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* socket = static_cast<UdpSocket*>(data);
  socket->torn_down_ = true;
  socket->Close();
}

}  // namespace postern
