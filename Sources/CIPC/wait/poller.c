/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/poller.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fork_hooks.h"
#include "base/interrupt.h"
#include "base/slots.h"
#include "base/thread.h"
#include "wait/poller.h"

#define EVENTS 32
// The timer's place in the epoll set; no ticket has this value, since generations begin at 1.
#define TIMER UINT64_C(0)
#define NOWHERE CIPC_SLOT_NOWHERE

// A wait, in a slot: an event or a cancellation that comes too late finds it over.
struct wait {
  cipc_slot_t slot;
  uint32_t heap_index;  // NOWHERE without a deadline
  int fd;               // ours, or -1
  cipc_deadline_t deadline;
  cipc_poller_callback_t callback;
  void *context;
};

// All under the guard. `running` says whether there is a thread in this process.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static bool running;
static int epoll = -1;
static int timer = -1;
static cipc_slots_t slots = CIPC_SLOTS_OF(struct wait);
static uint32_t *heap;  // slots with a deadline, the earliest first
static uint32_t heap_count;
static void (*first_call)(void);

static struct wait *wait_at(uint32_t slot) {
  return (struct wait *)(void *)cipc_slots_at(&slots, slot);
}

// MARK: Heap

static void heap_place(uint32_t index, uint32_t slot) {
  heap[index] = slot;
  wait_at(slot)->heap_index = index;
}

static void heap_up(uint32_t index) {
  uint32_t slot = heap[index];
  while (index > 0 && wait_at(heap[(index - 1) / 2])->deadline > wait_at(slot)->deadline) {
    heap_place(index, heap[(index - 1) / 2]);
    index = (index - 1) / 2;
  }
  heap_place(index, slot);
}

static void heap_down(uint32_t index) {
  uint32_t slot = heap[index];
  for (;;) {
    uint32_t child = 2 * index + 1;
    if (child >= heap_count) break;
    if (child + 1 < heap_count &&
        wait_at(heap[child + 1])->deadline < wait_at(heap[child])->deadline) {
      child++;
    }
    if (wait_at(heap[child])->deadline >= wait_at(slot)->deadline) break;
    heap_place(index, heap[child]);
    index = child;
  }
  heap_place(index, slot);
}

static void heap_remove(uint32_t slot) {
  uint32_t index = wait_at(slot)->heap_index;
  if (index == NOWHERE) return;
  wait_at(slot)->heap_index = NOWHERE;
  uint32_t last = heap[--heap_count];
  if (index == heap_count) return;
  heap_place(index, last);
  heap_down(index);
  heap_up(wait_at(last)->heap_index);
}

// Sets the timer to the earliest deadline.
static void arm(void) {
  struct itimerspec when;
  memset(&when, 0, sizeof when);
  if (heap_count > 0) {
    cipc_deadline_t earliest = wait_at(heap[0])->deadline;
    // Zero would switch the timer off.
    when.it_value = cipc_clock_timespec(earliest > 0 ? earliest : 1);
  }
  (void)timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

// MARK: Slots

// Twice as many slots, all of which have a place in the heap.
static int grow(void) {
  uint32_t before = slots.count;
  int status = cipc_slots_grow(&slots);
  if (status < 0) return status;
  for (uint32_t slot = before; slot < slots.count; slot++) {
    wait_at(slot)->heap_index = NOWHERE;
    wait_at(slot)->fd = -1;
  }
  uint32_t *places = realloc(heap, slots.count * sizeof *places);
  if (places == NULL) return CIPC_ENOMEM;
  heap = places;
  return 0;
}

// Ends a wait: its slot is free, its descriptor returned for the caller to close without the
// guard, or -1.
static int end(uint32_t slot) {
  struct wait *wait = wait_at(slot);
  int fd = wait->fd;
  // Not left to close(): the descriptor may have been inherited by a child, and then the
  // registration would live on.
  if (fd >= 0) (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
  heap_remove(slot);
  wait->fd = -1;
  cipc_slots_release(&slots, slot);
  return fd;
}

// MARK: Thread

// Ends the wait and calls back. Takes the guard held and gives it back held.
static void finish(uint32_t slot, int status) {
  cipc_poller_callback_t callback = wait_at(slot)->callback;
  void *context = wait_at(slot)->context;
  int fd = end(slot);
  (void)pthread_mutex_unlock(&guard);
  if (fd >= 0) (void)close(fd);
  callback(context, status);
  (void)pthread_mutex_lock(&guard);
}

static void *serve(void *set) {
  int own = (int)(intptr_t)set;
  (void)pthread_mutex_lock(&guard);
  void (*call)(void) = first_call;
  (void)pthread_mutex_unlock(&guard);
  if (call != NULL) call();
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(own, events, EVENTS, -1);
    (void)pthread_mutex_lock(&guard);
    bool expired = false;
    for (int i = 0; i < count; i++) {
      if (events[i].data.u64 == TIMER) {
        expired = true;
        continue;
      }
      uint32_t slot = cipc_slots_find(&slots, events[i].data.u64);
      if (slot != NOWHERE) finish(slot, 0);
    }
    // After the descriptors, so that one that became ready in time is ready.
    if (expired) {
      cipc_deadline_t now = cipc_clock_now();
      while (heap_count > 0 && wait_at(heap[0])->deadline <= now) finish(heap[0], CIPC_ETIMEDOUT);
      arm();
    }
    (void)pthread_mutex_unlock(&guard);
  }
  return NULL;
}

// The child has the descriptors but no thread; the epoll set is still the parent's too and must
// not be touched.
static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
static void fork_child(void) {
  if (running) {
    (void)close(epoll);
    (void)close(timer);
    epoll = timer = -1;
    running = false;
    for (uint32_t slot = 0; slot < slots.count; slot++) {
      if (!wait_at(slot)->slot.is_taken) continue;
      int fd = end(slot);
      if (fd >= 0) (void)close(fd);
    }
  }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_POLLER, fork_prepare, fork_parent, fork_child)

static int start(void) {
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return -errno;
  int status = 0;
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer < 0) status = -errno;
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = TIMER};
  if (status == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0) status = -errno;

  if (status == 0) status = cipc_thread_start("cipc-poller", serve, (void *)(intptr_t)epoll);
  if (status < 0) {
    (void)close(epoll);
    if (timer >= 0) (void)close(timer);
    epoll = timer = -1;
    return status;
  }
  running = true;
  return 0;
}

// MARK: API

int cipc_poller_wait(int fd, unsigned flags, cipc_deadline_t deadline,
                     cipc_poller_callback_t callback, void *context, cipc_poller_ticket_t *ticket) {
  *ticket = 0;
  const unsigned directions = CIPC_POLLER_READABLE | CIPC_POLLER_WRITABLE;
  int own = -1;
  int status = 0;
  if (fd >= 0) {
    own = flags & CIPC_POLLER_OWNED ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return -errno;
    if ((flags & directions) == 0) status = CIPC_EINVAL;
  }
  (void)pthread_mutex_lock(&guard);
  if (status == 0 && !running) status = start();
  if (status == 0 && !cipc_slots_have_free(&slots)) status = grow();
  if (status == 0) {
    uint32_t slot = cipc_slots_next(&slots);
    struct wait *wait = wait_at(slot);
    struct epoll_event event = {.data.u64 = cipc_slots_ticket(&slots, slot)};
    if (flags & CIPC_POLLER_READABLE) event.events |= EPOLLIN;
    if (flags & CIPC_POLLER_WRITABLE) event.events |= EPOLLOUT;
    if (own >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, own, &event) < 0) {
      status = -errno;
    } else {
      cipc_slots_take(&slots);
      wait->fd = own;
      wait->deadline = deadline;
      wait->callback = callback;
      wait->context = context;
      own = -1;
      *ticket = event.data.u64;
      if (deadline != CIPC_NO_DEADLINE) {
        heap[heap_count] = slot;
        heap_up(heap_count++);
        if (heap[0] == slot) arm();
      }
    }
  }
  (void)pthread_mutex_unlock(&guard);
  if (own >= 0) (void)close(own);
  return status;
}

int cipc_poller_cancel(cipc_poller_ticket_t ticket) {
  (void)pthread_mutex_lock(&guard);
  uint32_t slot = cipc_slots_find(&slots, ticket);
  int fd = slot != NOWHERE ? end(slot) : -1;
  (void)pthread_mutex_unlock(&guard);
  if (fd >= 0) (void)close(fd);
  return slot != NOWHERE ? 0 : CIPC_ENOENT;
}

int cipc_poller_is_running(void) {
  (void)pthread_mutex_lock(&guard);
  bool is_running = running;
  (void)pthread_mutex_unlock(&guard);
  return is_running;
}

void cipc_poller_call_first(void (*call)(void)) {
  (void)pthread_mutex_lock(&guard);
  first_call = call;
  (void)pthread_mutex_unlock(&guard);
}

// MARK: Several at once

int cipc_poller_gather(const cipc_poller_interest_t *interests, size_t count) {
  int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return -errno;
  int status = 0;
  for (size_t i = 0; status == 0 && i < count; i++) {
    struct epoll_event event = {.data.u64 = i};
    if (interests[i].directions & CIPC_POLLER_READABLE) event.events |= EPOLLIN;
    if (interests[i].directions & CIPC_POLLER_WRITABLE) event.events |= EPOLLOUT;
    if (event.events == 0) status = CIPC_EINVAL;
    if (status == 0 && epoll_ctl(set, EPOLL_CTL_ADD, interests[i].fd, &event) < 0) status = -errno;
  }
  if (status == 0) return set;
  (void)close(set);
  return status;
}

// With room for the descriptors in `entries`.
static int poll_all(const cipc_poller_interest_t *interests, size_t count, cipc_deadline_t deadline,
                    struct pollfd *entries) {
  for (size_t i = 0; i < count; i++) {
    entries[i] = (struct pollfd){.fd = interests[i].fd};
    // poll(2) would pass over it.
    if (entries[i].fd < 0) return CIPC_EBADF;
    if (interests[i].directions & CIPC_POLLER_READABLE) entries[i].events |= POLLIN;
    if (interests[i].directions & CIPC_POLLER_WRITABLE) entries[i].events |= POLLOUT;
    if (entries[i].events == 0) return CIPC_EINVAL;
  }
  for (;;) {
    int ready = cipc_interrupt_poll(entries, (nfds_t)count, deadline);
    if (ready < 0) return ready;
    for (size_t i = 0; ready > 0 && i < count; i++) {
      if (entries[i].revents & POLLNVAL) return CIPC_EBADF;
    }
    if (ready > 0) return 0;
    if (deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline) return CIPC_ETIMEDOUT;
  }
}

int cipc_poller_poll(const cipc_poller_interest_t *interests, size_t count,
                     cipc_deadline_t deadline) {
  struct pollfd few[16];
  if (count <= sizeof few / sizeof *few) return poll_all(interests, count, deadline, few);
  struct pollfd *many = calloc(count, sizeof *many);
  if (many == NULL) return CIPC_ENOMEM;
  int status = poll_all(interests, count, deadline, many);
  free(many);
  return status;
}
