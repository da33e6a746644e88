#pragma once

// linux/udp.h: younger than the C library of some build machines, and the running kernel is asked anyway.
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IPV6_DONTFRAG
#define IPV6_DONTFRAG 62
#endif
