/* SPDX-License-Identifier: Apache-2.0 */
// Traces: which functions are in the list, how far it goes, and places of addresses.
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "cipc/trace.h"

static const void *frames[64];
static size_t count;

__attribute__((noinline)) static void innermost(size_t room, size_t skip) {
  count = cipc_trace_frames(frames, room, skip);
  __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void between(size_t room, size_t skip) {
  innermost(room, skip);
  __asm__ volatile("" ::: "memory");
}

// The compiler may leave frame pointers out; then there is only what there is.
static void traces_are_bounded(void) {
  between(64, 0);
  CHECK(count <= 64);
  size_t all = count;
  between(1, 0);
  CHECK(count <= 1);
  between(0, 0);
  CHECK(count == 0);
  between(64, 1);
  CHECK(count + 1 == all || all == 0);
  between(64, 1000);
  CHECK(count == 0);
}

static void *in_thread(void *unused) {
  between(64, 0);
  CHECK(count <= 64);
  return unused;
}

static void threads_have_stacks_of_their_own(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, in_thread, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void places_have_files(void) {
  cipc_trace_place_t place;
  int status = cipc_trace_find((const void *)(uintptr_t)traces_are_bounded, &place);
#ifndef __GLIBC__
  if (status == CIPC_ENOENT) {
    check_skip("a static program has no dynamic linker to ask");
    return;
  }
#endif
  CHECK(status == CIPC_OK);
  CHECK(place.file != NULL && strstr(place.file, "trace_test") != NULL);
  int local = 0;
  CHECK(cipc_trace_find(&local, &place) == CIPC_ENOENT);
  CHECK(cipc_trace_find(NULL, &place) == CIPC_ENOENT);
}

int main(void) {
  TEST(traces_are_bounded);
  TEST(threads_have_stacks_of_their_own);
  TEST(places_have_files);
  return check_finish();
}
