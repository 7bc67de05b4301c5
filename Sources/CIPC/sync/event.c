/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/event.h"

#include <limits.h>

#include "base/futex.h"
#include "base/tries.h"
#include "segment/object.h"
#include "wait/readiness.h"

_Static_assert(sizeof(cipc_event_t) == 4, "an event is its word");

#define GENERATION_STEP (1u << CIPC_EVENT_GENERATION_SHIFT)

void cipc_event_init(cipc_event_t *event, int is_set) {
  event->word = is_set ? GENERATION_STEP | CIPC_EVENT_SET : 0;
}

void cipc_event_set(cipc_event_t *event) {
  uint32_t before = __atomic_load_n(&event->word, __ATOMIC_RELAXED);
  for (int i = 0;; i++) {
    // One that is set already is written as well: whoever clears it next must see what was written
    // before this, or would not know what it is told.
    uint32_t after = before & CIPC_EVENT_SET
                         ? before
                         : ((before + GENERATION_STEP) & ~CIPC_EVENT_WAITERS) | CIPC_EVENT_SET;
    // Commit point.
    if (__atomic_compare_exchange_n(&event->word, &before, after, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED)) {
      break;
    }
    if (i < CIPC_TRIES) continue;
    // The same, whatever stands there: somebody scribbles.
    before = __atomic_exchange_n(&event->word, after, __ATOMIC_SEQ_CST);
    break;
  }
  if (before & CIPC_EVENT_WAITERS) (void)cipc_futex_wake(&event->word, INT_MAX);
}

int cipc_event_step(cipc_event_t *event, uint32_t begin, cipc_wait_t *wait) {
  uint32_t word = __atomic_load_n(&event->word, __ATOMIC_SEQ_CST);
  for (int i = 0; i < CIPC_TRIES; i++) {
    if (word & CIPC_EVENT_SET || word >> CIPC_EVENT_GENERATION_SHIFT != begin) return 0;
    if (word & CIPC_EVENT_WAITERS) break;
    if (__atomic_compare_exchange_n(&event->word, &word, word | CIPC_EVENT_WAITERS, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      word |= CIPC_EVENT_WAITERS;
      break;
    }
  }
  *wait = (cipc_wait_t){.word = &event->word, .expected = word};
  return CIPC_EAGAIN;
}

int cipc_event_wait_slowly(cipc_event_t *event, cipc_deadline_t deadline) {
  uint32_t begin = cipc_event_begin(event);
  // Without the mark of a sleeper, which would cost whoever sets it a system call.
  if (deadline <= CIPC_IMMEDIATELY) return cipc_event_is_set(event) ? 0 : CIPC_ETIMEDOUT;
  for (;;) {
    cipc_wait_t wait;
    int status = cipc_event_step(event, begin, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return status;
  }
}

// MARK: Descriptors

static int readiness_step(const cipc_readiness_subject_t *subject, cipc_wait_t *wait) {
  cipc_event_t *event = subject->object;
  return cipc_event_step(event, cipc_event_begin(event), wait);
}

int cipc_event_readiness_open(cipc_readiness_t **readiness, cipc_event_t *event) {
  return cipc_readiness_open(readiness,
                             &(cipc_readiness_subject_t){.object = event, .step = readiness_step});
}

// MARK: By name

cipc_segment_type_t cipc_event_type(void) {
  const cipc_element_t element = {.size = sizeof(cipc_event_t),
                                  .stride = sizeof(cipc_event_t),
                                  .alignment = _Alignof(cipc_event_t),
                                  .fingerprint = 1};
  return cipc_object_type(CIPC_KIND_EVENT, 1, &element, 1);
}

static int prepare(void *payload, void *context) {
  cipc_event_init(payload, *(const int *)context);
  return 0;
}

int cipc_event_open_named(cipc_segment_t **segment, const char *name) {
  return cipc_object_open(segment, name, &(cipc_object_t){.type = cipc_event_type()});
}

int cipc_event_open_or_create(cipc_segment_t **segment, const char *name, int is_set) {
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_event_type(),
                                           .size = sizeof(cipc_event_t),
                                           .prepare = prepare,
                                           .context = &is_set});
}
