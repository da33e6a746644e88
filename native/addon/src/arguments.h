#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

namespace postern {

/**
 * The arguments of one call from JavaScript, read one after the other. Each reader answers false after the first argument that
 * is not what it should be, and a TypeError that names the argument is then pending: the caller returns nullptr.
 */
class Arguments {
 public:
  static constexpr size_t kMax = 16;

  Arguments(napi_env env, napi_callback_info info);

  napi_env env() const { return env_; }
  bool ok() const { return ok_; }

  bool Int32(const char* name, int32_t minimum, int32_t maximum, int32_t* out);
  bool Function(const char* name, napi_value* out);
  /** Any value. */
  bool Value(const char* name, napi_value* out);
  /** The memory of a typed array; it stays valid until JavaScript runs again. Neither null nor detached. */
  bool Bytes(const char* name, size_t minimum, uint8_t** data, size_t* length);
  bool Int32s(const char* name, size_t minimum, int32_t** data, size_t* length);
  bool Doubles(const char* name, size_t minimum, double** data, size_t* length);
  /** The value that was read last, for a reference that outlives the call. */
  napi_value Last() const { return next_ == 0 ? nullptr : values_[next_ - 1]; }

  /** Leaves a TypeError pending and is false from now on. */
  bool Fail(const char* name, const char* expected);

 private:
  bool TypedArray(const char* name, napi_typedarray_type type, size_t minimum, void** data, size_t* length);

  napi_env env_;
  napi_value values_[kMax];
  size_t count_ = kMax;
  size_t next_ = 0;
  bool ok_ = true;
};

/** The memory of a typed array of this type, false when the value is none (any more): a detached one has no bytes. */
bool ReadTypedArray(napi_env env, napi_value value, napi_typedarray_type type, void** data, size_t* length);

napi_value MakeInt32(napi_env env, int32_t value);
napi_value MakeBoolean(napi_env env, bool value);

/** Throws an Error whose `code` is the name that Node uses for it. */
void ThrowErrno(napi_env env, const char* call, int error);

}  // namespace postern
