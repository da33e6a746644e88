#include "netlink-scan.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cstring>

namespace postern {

namespace {

/** Link-local and multicast addresses come and go with every virtual interface, and no peer is reached by them alone. */
bool IsLocal(int family, const uint8_t* address, size_t size) {
  if (family == AF_INET6) return size >= 2 && (address[0] == 0xff || (address[0] == 0xfe && (address[1] & 0xc0) == 0x80));
  return size >= 2 && ((address[0] & 0xf0) == 0xe0 || address[0] == 127 || (address[0] == 169 && address[1] == 254));
}

/** The first attribute of this type: its bytes, or nullptr. Attributes that are not whole end the list. */
const uint8_t* Attribute(const uint8_t* bytes, size_t size, uint16_t type, size_t* found) {
  while (size >= sizeof(rtattr)) {
    rtattr head;
    memcpy(&head, bytes, sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > size) return nullptr;
    if ((head.rta_type & NLA_TYPE_MASK) == type) {
      *found = head.rta_len - RTA_LENGTH(0);
      return bytes + RTA_LENGTH(0);
    }
    const size_t step = RTA_ALIGN(head.rta_len);
    if (step >= size) return nullptr;
    bytes += step;
    size -= step;
  }
  return nullptr;
}

template <typename Body>
bool ReadBody(const uint8_t* bytes, size_t size, Body* body, size_t* rest) {
  if (size < NLMSG_ALIGN(sizeof(Body))) return false;
  memcpy(body, bytes, sizeof(Body));
  *rest = NLMSG_ALIGN(sizeof(Body));
  return true;
}

bool AddressGone(const uint8_t* bytes, size_t size) {
  ifaddrmsg body;
  size_t rest, length = 0;
  if (!ReadBody(bytes, size, &body, &rest) || body.ifa_scope >= RT_SCOPE_LINK) return false;
  const uint8_t* address = Attribute(bytes + rest, size - rest, IFA_ADDRESS, &length);
  return address != nullptr && !IsLocal(body.ifa_family, address, length);
}

bool RouteGone(const uint8_t* bytes, size_t size) {
  rtmsg body;
  size_t rest, length = 0;
  // Cached ones come and go with traffic; the table of the machine's own addresses says what the addresses say.
  if (!ReadBody(bytes, size, &body, &rest) || (body.rtm_flags & RTM_F_CLONED) != 0 || body.rtm_type != RTN_UNICAST || body.rtm_table == RT_TABLE_LOCAL) return false;
  const uint8_t* destination = Attribute(bytes + rest, size - rest, RTA_DST, &length);
  return destination == nullptr ? body.rtm_dst_len == 0 : !IsLocal(body.rtm_family, destination, length);
}

}  // namespace

NetlinkNews ScanNetlink(const uint8_t* bytes, size_t size) {
  NetlinkNews news;
  while (size >= sizeof(nlmsghdr)) {
    nlmsghdr head;
    memcpy(&head, bytes, sizeof head);
    if (head.nlmsg_len < sizeof head || head.nlmsg_len > size) break;
    const uint8_t* body = bytes + NLMSG_HDRLEN;
    const size_t length = head.nlmsg_len - NLMSG_HDRLEN;
    news.any = true;
    if (head.nlmsg_type == RTM_DELADDR) news.gone |= AddressGone(body, length);
    if (head.nlmsg_type == RTM_DELROUTE) news.gone |= RouteGone(body, length);
    const size_t step = NLMSG_ALIGN(head.nlmsg_len);
    if (step >= size) break;
    bytes += step;
    size -= step;
  }
  return news;
}

}  // namespace postern
