{
  # Node-API only: one build loads on every Node from 20.19 on. No OpenSSL headers and no OpenSSL at link time: what the
  # binary of node brings is looked up when the addon is loaded (src/openssl.h).
  "variables": { "sanitize%": "" },
  "targets": [{
    "target_name": "postern",
    "sources": ["src/addon.cc", "src/arguments.cc", "src/openssl.cc", "src/aead.cc", "src/aead-short.cc", "src/aead-object.cc", "src/x25519.cc", "src/x25519-object.cc", "src/hash.cc", "src/hash-object.cc", "src/system.cc"],
    "defines": ["NAPI_VERSION=8"],
    "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
    "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fno-rtti"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17", "GCC_ENABLE_CPP_EXCEPTIONS": "NO", "GCC_SYMBOLS_PRIVATE_EXTERN": "YES", "MACOSX_DEPLOYMENT_TARGET": "11.0"
    },
    "conditions": [
      ["OS=='linux'", {
        "defines": ["POSTERN_LINUX"],
        "sources": ["src/udp-open.cc", "src/udp-errors.cc", "src/udp-life.cc", "src/udp-receive.cc", "src/udp-send.cc", "src/udp-object.cc", "src/tcp.cc", "src/netlink.cc", "src/hci.cc", "src/netlink-scan.cc"]
      }],
      ["sanitize!=''", {
        "cflags": ["-fsanitize=<(sanitize)", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"],
        "ldflags": ["-fsanitize=<(sanitize)"]
      }]
    ]
  }]
}
