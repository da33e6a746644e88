// Small facts of the operating system that Node does not tell.
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>

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

}  // namespace

bool ExportSystem(napi_env env, napi_value exports) {
  return Export(env, exports, "peerUid", PeerUid);
}

}  // namespace postern
