// The JavaScript face of UdpSocket: `udpOpen(…)` makes one, which all other calls take first.
#include <new>

#include "addon.h"
#include "arguments.h"
#include "udp-socket.h"

namespace postern {

namespace {

constexpr napi_type_tag kTag = {0x51a7c2de90f84b1d, 0xb6e3f1a8427d905c};
/** Larger buffers than anybody asks for; setsockopt doubles them. */
constexpr int32_t kBufferMax = 1 << 30;

void FreeSocket(napi_env, void* data, void*) {
  delete static_cast<UdpSocket*>(data);
}

/** (address, family, features, receiveBuffer, sendBuffer, local, facts): the socket; what it is goes into the last two. */
napi_value UdpOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint8_t *address, *local;
  int32_t family, wanted, receive_buffer, send_buffer, *facts;
  size_t size;
  if (!arguments.Bytes("address", kAddressSize, &address, &size) || !arguments.Int32("family", 4, 6, &family) || !arguments.Int32("features", 0, 127, &wanted) ||
      !arguments.Int32("receiveBuffer", 0, kBufferMax, &receive_buffer) || !arguments.Int32("sendBuffer", 0, kBufferMax, &send_buffer) ||
      !arguments.Bytes("local", kAddressSize, &local, &size) || !arguments.Int32s("facts", 3, &facts, &size)) {
    return nullptr;
  }
  auto* socket = new (std::nothrow) UdpSocket(env);
  const int error = socket == nullptr ? ENOMEM : socket->Open(address, family, wanted, receive_buffer, send_buffer);
  if (error != 0 || !socket->Local(local)) {
    delete socket;
    ThrowErrno(env, "udpOpen", error == 0 ? EIO : error);
    return nullptr;
  }
  facts[0] = socket->BufferSize(SO_RCVBUF);
  facts[1] = socket->BufferSize(SO_SNDBUF);
  facts[2] = socket->features();
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok || napi_wrap(env, object, socket, FreeSocket, nullptr, nullptr) != napi_ok) {
    delete socket;
    return nullptr;
  }
  if (napi_type_tag_object(env, object, &kTag) != napi_ok) return nullptr;
  return object;
}

UdpSocket* Self(Arguments& arguments, napi_value* object) {
  bool tagged = false;
  void* socket = nullptr;
  if (!arguments.Value("socket", object) || napi_check_object_type_tag(arguments.env(), *object, &kTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(arguments.env(), *object, &socket) != napi_ok) {
    arguments.Fail("socket", "what udpOpen returned");
    return nullptr;
  }
  return static_cast<UdpSocket*>(socket);
}

/** (socket, callback, arena, slabOffset, slabSize, address, offset, length, segmentSize, ecn, local, rows, addresses, hints, hintAddresses) */
napi_value UdpStart(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  UdpSocket::Shared shared = {};
  UdpSocket* socket = Self(arguments, &shared.self);
  if (socket == nullptr || !arguments.Function("callback", &shared.callback)) return nullptr;
  uint8_t* bytes;
  int32_t* ints;
  size_t size;
  if (!arguments.Bytes("arena", 1, &bytes, &size)) return nullptr;
  shared.arena = arguments.Last();
  const auto arena = size > INT32_MAX ? INT32_MAX : static_cast<int32_t>(size);
  if (!arguments.Int32("slabOffset", 0, arena, &shared.slab_offset) || !arguments.Int32("slabSize", 65536, arena - shared.slab_offset, &shared.slab_size)) return nullptr;
  // As many rows as a batch has messages, at most; looked at again each time.
  const size_t rows = UdpSocket::SlotsOf(shared.slab_size);
  if (!arguments.Bytes("address", rows * kAddressSize, &bytes, &size)) return nullptr;
  shared.receive_address = arguments.Last();
  if (!arguments.Int32s("offset", rows, &ints, &size)) return nullptr;
  shared.receive_offset = arguments.Last();
  if (!arguments.Int32s("length", rows, &ints, &size)) return nullptr;
  shared.receive_length = arguments.Last();
  if (!arguments.Int32s("segmentSize", rows, &ints, &size)) return nullptr;
  shared.receive_segment = arguments.Last();
  if (!arguments.Bytes("ecn", rows, &bytes, &size)) return nullptr;
  shared.receive_ecn = arguments.Last();
  if (!arguments.Bytes("local", rows, &bytes, &size)) return nullptr;
  shared.receive_local = arguments.Last();
  if (!arguments.Int32s("rows", kRowInts, &ints, &size)) return nullptr;
  shared.rows = arguments.Last();
  if (!arguments.Bytes("addresses", kAddressSize, &bytes, &size)) return nullptr;
  shared.addresses = arguments.Last();
  if (!arguments.Int32s("hints", kHintsMax * kHintInts, &ints, &size)) return nullptr;
  shared.hints = arguments.Last();
  if (!arguments.Bytes("hintAddresses", kHintsMax * kAddressSize, &bytes, &size)) return nullptr;
  shared.hint_addresses = arguments.Last();
  const int error = socket->Start(shared);
  if (error != 0) ThrowErrno(env, "udpStart", error);
  return nullptr;
}

/** (socket, head, count): how many rows are done with. */
napi_value UdpSend(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  UdpSocket* socket = Self(arguments, &object);
  int32_t head, count;
  if (socket == nullptr || !arguments.Int32("head", 0, INT32_MAX, &head) || !arguments.Int32("count", 0, INT32_MAX, &count)) return nullptr;
  return MakeInt32(env, socket->Send(head, count));
}

napi_value UdpClose(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  UdpSocket* socket = Self(arguments, &object);
  if (socket != nullptr) socket->Close();
  return nullptr;
}

/** What it does now: a burst that was refused too often is no longer among it. */
napi_value UdpFeatures(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value object = nullptr;
  UdpSocket* socket = Self(arguments, &object);
  return socket == nullptr ? nullptr : MakeInt32(env, socket->features());
}

}  // namespace

bool ExportUdp(napi_env env, napi_value exports) {
  return Export(env, exports, "udpOpen", UdpOpen) && Export(env, exports, "udpStart", UdpStart) && Export(env, exports, "udpSend", UdpSend) &&
         Export(env, exports, "udpClose", UdpClose) && Export(env, exports, "udpFeatures", UdpFeatures);
}

}  // namespace postern
