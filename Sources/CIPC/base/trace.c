/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/trace.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

// Where this thread's stack ends; 0 before the first call.
static __thread uintptr_t stack_end;

static uintptr_t find_stack_end(void) {
  pthread_attr_t attributes;
  void *start = NULL;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 1;
  if (pthread_attr_getstack(&attributes, &start, &size) != 0) size = 0;
  (void)pthread_attr_destroy(&attributes);
  return size == 0 ? 1 : (uintptr_t)start + size;
}

size_t cipc_trace_frames(const void **addresses, size_t room, size_t skip) {
  if (stack_end == 0) stack_end = find_stack_end();
  size_t count = 0;
  uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
  // A frame is the caller's frame pointer and the return address, on the usual machines.
  while (count < room && frame % sizeof(uintptr_t) == 0 && frame != 0 &&
         stack_end >= 2 * sizeof(uintptr_t) && frame <= stack_end - 2 * sizeof(uintptr_t)) {
    const uintptr_t *words = (const uintptr_t *)frame;
    uintptr_t next = words[0];
    if (words[1] == 0) break;
    if (skip > 0) {
      skip--;
    } else {
      addresses[count++] = (const void *)words[1];
    }
    // Callers' frames lie higher.
    if (next <= frame) break;
    frame = next;
  }
  return count;
}

int cipc_trace_find(const void *address, cipc_trace_place_t *place) {
  Dl_info info;
  if (address == NULL || dladdr((void *)(uintptr_t)address, &info) == 0) return CIPC_ENOENT;
  bool has_function = info.dli_sname != NULL && info.dli_saddr != NULL;
  const char *start = has_function ? info.dli_saddr : info.dli_fbase;
  place->file = info.dli_fname;
  place->function = has_function ? info.dli_sname : NULL;
  place->offset = (size_t)((const char *)address - start);
  return 0;
}
