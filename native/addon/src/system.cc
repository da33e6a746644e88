// Small facts of the operating system that Node does not tell.
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "addon.h"
#include "arguments.h"

namespace postern {

namespace {

/** (fd): the uid of the process that connected a Unix socket, as of then; -1 for anything else. */
napi_value PeerUid(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int32_t fd;
  if (!arguments.Int32("fd", 0, INT32_MAX, &fd)) return nullptr;
  double uid = -1;
#ifdef __linux__
  sockaddr_storage address;
  socklen_t size = sizeof address;
  ucred peer;
  socklen_t peer_size = sizeof peer;
  // Of sockets of other families the kernel says nobody's uid instead of an error.
  const bool local = getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.ss_family == AF_UNIX;
  if (local && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == 0 && peer.uid != static_cast<uid_t>(-1)) uid = peer.uid;
#else
  uid_t user;
  gid_t group;
  if (getpeereid(fd, &user, &group) == 0) uid = user;
#endif
  napi_value result = nullptr;
  napi_create_double(env, uid, &result);
  return result;
}

/** 0, or the error as JavaScript knows it: negative. */
napi_value MakeError(napi_env env, int error) {
  return MakeInt32(env, error == 0 ? 0 : uv_translate_sys_error(error));
}

/** (fd): locks the open file behind it with flock(2), at once or not. 0, or an error: EAGAIN when another open file has the lock. */
napi_value LockFile(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int32_t fd;
  if (!arguments.Int32("fd", 0, INT32_MAX, &fd)) return nullptr;
  int result;
  do result = flock(fd, LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  return MakeError(env, result == 0 ? 0 : errno);
}

/** (path, message): one datagram to a Unix socket, at once or not at all; a path that begins with '@' is an abstract one. 0, or an error. */
napi_value SendUnix(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint8_t *path, *message;
  size_t path_size, message_size;
  if (!arguments.Bytes("path", 1, &path, &path_size) || !arguments.Bytes("message", 0, &message, &message_size)) return nullptr;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path_size >= sizeof address.sun_path) return MakeError(env, ENAMETOOLONG);
  memcpy(address.sun_path, path, path_size);
  // An abstract name is as long as it says; a path ends with its zero.
  if (path[0] == '@') address.sun_path[0] = 0;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_size + (path[0] == '@' ? 0 : 1));
#ifdef __linux__
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
#else
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  constexpr int kFlags = MSG_DONTWAIT;
#endif
  if (fd < 0) return MakeError(env, errno);
  const ssize_t sent = sendto(fd, message, message_size, kFlags, reinterpret_cast<const sockaddr*>(&address), size);
  const int error = sent < 0 ? errno : 0;
  close(fd);
  return MakeError(env, error);
}

}  // namespace

bool ExportSystem(napi_env env, napi_value exports) {
  return Export(env, exports, "peerUid", PeerUid) && Export(env, exports, "lockFile", LockFile) && Export(env, exports, "sendUnix", SendUnix);
}

}  // namespace postern
