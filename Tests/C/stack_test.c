/* SPDX-License-Identifier: Apache-2.0 */
// What is left of a thread's stack, on stacks of several sizes and on one that is no thread's.
#include "cipc/stack.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "check.h"

// ThreadSanitizer makes small stacks larger.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static size_t left_deeper(size_t *size) {
  // AddressSanitizer keeps what has a constant size elsewhere.
  volatile size_t count = 4096;
  volatile char *filling = __builtin_alloca(count);
  filling[0] = filling[4095] = 1;
  size_t left = cipc_stack_left(size);
  return filling[0] == 1 ? left : 0;
}

static void *in_thread(void *wanted) {
  size_t size = 0;
  size_t left = cipc_stack_left(&size);
  // Some libcs give a little more than was asked for, and some of it is theirs.
  CHECK(size >= *(size_t *)wanted / 2);
#ifndef SANITIZED
  CHECK(size <= *(size_t *)wanted + 65536);
#endif
  CHECK(left < size && left > size / 4);
  size_t deeper = left_deeper(NULL);
  CHECK(deeper < left && left - deeper >= 4096 && left - deeper < 8192);
  // All of what is left can be written to.
  volatile char *lowest = (volatile char *)__builtin_frame_address(0) - left + 256;
  *lowest = 1;
  return NULL;
}

static void threads_have_what_they_asked_for(void) {
  for (size_t size = 64 << 10; size <= 8 << 20; size *= 2) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, size) == 0);
    CHECK(pthread_create(&thread, &attributes, in_thread, &size) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
  }
}

static void the_main_thread_has_its_limit(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
  size_t size = 0;
  size_t left = cipc_stack_left(&size);
  if (limit.rlim_cur == RLIM_INFINITY) {
    CHECK(left > (1 << 20));
  } else {
    CHECK(left < size && size <= limit.rlim_cur + 65536);
    size_t deeper = left_deeper(NULL);
    CHECK(deeper < left && left - deeper >= 4096);
  }
}

static size_t elsewhere_left;
static size_t elsewhere_size;

static void handler(int signal) {
  (void)signal;
  elsewhere_left = cipc_stack_left(&elsewhere_size);
}

// The thread has asked before, so that the handler does no more than compare.
static void another_stack_is_unknown(void) {
  static char memory[65536];
  stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  CHECK(sigaltstack(&stack, NULL) == 0);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK(raise(SIGUSR1) == 0);
  CHECK(elsewhere_left == SIZE_MAX && elsewhere_size == SIZE_MAX);
}

int main(void) {
  TEST(threads_have_what_they_asked_for);
  TEST(the_main_thread_has_its_limit);
  TEST(another_stack_is_unknown);
  return check_finish();
}
