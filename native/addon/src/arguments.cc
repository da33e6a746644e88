#include "arguments.h"

#include <uv.h>

#include <cstdio>

namespace postern {

Arguments::Arguments(napi_env env, napi_callback_info info) : env_(env) {
  if (napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr) != napi_ok) {
    ok_ = false;
    count_ = 0;
  }
  if (count_ > kMax) count_ = kMax;
}

bool Arguments::Fail(const char* name, const char* expected) {
  if (ok_) {
    char message[160];
    snprintf(message, sizeof message, "%s: expected %s", name, expected);
    napi_throw_type_error(env_, "ERR_INVALID_ARG_TYPE", message);
  }
  ok_ = false;
  return false;
}

bool Arguments::Int32(const char* name, int32_t minimum, int32_t maximum, int32_t* out) {
  if (!ok_) return false;
  double number = 0;
  if (next_ >= count_ || napi_get_value_double(env_, values_[next_++], &number) != napi_ok) return Fail(name, "an integer");
  // Written so that NaN fails, and compared before the conversion, which is undefined outside the range.
  if (!(number >= minimum && number <= maximum) || number != static_cast<double>(static_cast<int32_t>(number))) return Fail(name, "an integer in its range");
  *out = static_cast<int32_t>(number);
  return true;
}

bool Arguments::Function(const char* name, napi_value* out) {
  if (!ok_) return false;
  napi_valuetype type = napi_undefined;
  if (next_ >= count_ || napi_typeof(env_, values_[next_++], &type) != napi_ok || type != napi_function) return Fail(name, "a function");
  *out = values_[next_ - 1];
  return true;
}

bool Arguments::Value(const char* name, napi_value* out) {
  if (!ok_) return false;
  if (next_ >= count_) return Fail(name, "a value");
  *out = values_[next_++];
  return true;
}

bool Arguments::TypedArray(const char* name, napi_typedarray_type type, size_t minimum, void** data, size_t* length) {
  if (!ok_) return false;
  if (next_ >= count_ || !ReadTypedArray(env_, values_[next_++], type, data, length)) return Fail(name, "a typed array of the right kind");
  if (*length < minimum) return Fail(name, "a longer typed array");
  return true;
}

bool Arguments::Bytes(const char* name, size_t minimum, uint8_t** data, size_t* length) {
  return TypedArray(name, napi_uint8_array, minimum, reinterpret_cast<void**>(data), length);
}

bool Arguments::Int32s(const char* name, size_t minimum, int32_t** data, size_t* length) {
  return TypedArray(name, napi_int32_array, minimum, reinterpret_cast<void**>(data), length);
}

bool Arguments::Doubles(const char* name, size_t minimum, double** data, size_t* length) {
  return TypedArray(name, napi_float64_array, minimum, reinterpret_cast<void**>(data), length);
}

bool ReadTypedArray(napi_env env, napi_value value, napi_typedarray_type type, void** data, size_t* length) {
  bool is = false;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is) return false;
  napi_typedarray_type found;
  if (napi_get_typedarray_info(env, value, &found, length, data, nullptr, nullptr) != napi_ok || found != type) return false;
  static uint64_t nothing;
  // An empty or detached array may have no address; none of its bytes are ever touched, but memcpy wants one.
  if (*data == nullptr || *length == 0) {
    *data = &nothing;
    *length = 0;
  }
  return true;
}

napi_value MakeInt32(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value MakeBoolean(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

/** libuv has no name for what only the kernel's Bluetooth says. */
static const char* ErrorName(int error) {
#ifdef ERFKILL
  if (error == ERFKILL) return "ERFKILL";
#endif
#ifdef EUSERS
  if (error == EUSERS) return "EUSERS";
#endif
  return uv_err_name(uv_translate_sys_error(error));
}

void ThrowErrno(napi_env env, const char* call, int error) {
  const char* code = ErrorName(error);
  char message[160];
  snprintf(message, sizeof message, "%s %s", call, code);
  napi_throw_error(env, code, message);
}

}  // namespace postern
