/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/status.h"

const char *cipc_status_name(int status) {
  switch (status) {
#define CIPC_STATUS_NAME(name, value, message) \
  case name: \
    return #name;
    CIPC_STATUS_LIST(CIPC_STATUS_NAME)
#undef CIPC_STATUS_NAME
    default:
      return status < 0 && status >= -4095 ? "errno" : "unknown";
  }
}

const char *cipc_status_message(int status) {
  switch (status) {
#define CIPC_STATUS_MESSAGE(name, value, message) \
  case name: \
    return message;
    CIPC_STATUS_LIST(CIPC_STATUS_MESSAGE)
#undef CIPC_STATUS_MESSAGE
    default:
      return status < 0 && status >= -4095 ? "a system call failed" : "unknown status";
  }
}
