/* SPDX-License-Identifier: Apache-2.0 */
/// Events in shared memory: a fact that has happened or has not, and its waiters.
///
/// Setting an event releases every waiter of that moment, also if the event is cleared before they
/// look: the word counts how often it was set, and each waiter knows the count at which it began.
/// An event has no owner, so a dead process holds nothing.
///
/// All of it is one word, and each operation one compare-and-swap of it: killed before, nothing
/// happened; after, all of it did. A process that is killed after setting the event and before
/// waking the waiters leaves them asleep; they look again every 200 ms.
///
/// Any bytes in the word make an event. So a hostile process can write there what it likes: it can
/// only claim that the event happened.
#ifndef CIPC_EVENT_H
#define CIPC_EVENT_H

#include <stdint.h>

#include "clock.h"
#include "readiness.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// An event, to be placed in shared memory at an address divisible by 4. The member is private.
typedef struct cipc_event {
  /// {30 bits of how often it was set, waiters bit, set bit}. Changing it is the commit point of
  /// everything; sleepers set the waiters bit and sleep on it.
  uint32_t word;
} cipc_event_t;

/// Private: in `word`.
#define CIPC_EVENT_SET 1u
#define CIPC_EVENT_WAITERS 2u
#define CIPC_EVENT_GENERATION_SHIFT 2

/// Makes an event in memory that no one uses yet: not set, unless `is_set`. There is nothing to
/// destroy.
CIPC_API void cipc_event_init(cipc_event_t *event, int is_set);

/// Whether the event is set: one load. What was written before it was set is seen.
CIPC_INLINE int cipc_event_is_set(const cipc_event_t *event) {
  return (__atomic_load_n(&event->word, __ATOMIC_ACQUIRE) & CIPC_EVENT_SET) != 0;
}

/// Sets the event and wakes all waiters; returns when they are woken. Does not block. Any thread;
/// safe after fork.
CIPC_API void cipc_event_set(cipc_event_t *event);

/// Clears the event: later waits end when it is set the next time.
///
/// Commit point: its one instruction. Does not block. Any thread; safe after fork.
CIPC_INLINE void cipc_event_clear(cipc_event_t *event) {
  (void)__atomic_fetch_and(&event->word, ~CIPC_EVENT_SET, __ATOMIC_SEQ_CST);
}

/// The count at which a wait begins, for `cipc_event_step`.
CIPC_INLINE uint32_t cipc_event_begin(const cipc_event_t *event) {
  return __atomic_load_n(&event->word, __ATOMIC_SEQ_CST) >> CIPC_EVENT_GENERATION_SHIFT;
}

/// Whether the event is set, or was since `begin`: 0; otherwise CIPC_EAGAIN: sleep on `*wait` and
/// ask again; see cipc/wait.h. There are no dead owners to look for.
CIPC_API CIPC_CHECKED int cipc_event_step(cipc_event_t *event, uint32_t begin, cipc_wait_t *wait);

/// Private: waits for an event.
CIPC_API CIPC_CHECKED int cipc_event_wait_slowly(cipc_event_t *event, cipc_deadline_t deadline);

/// Waits until the event is set: 0, also where it was cleared again since; or CIPC_ETIMEDOUT.
/// Any thread; safe after fork.
CIPC_CHECKED CIPC_INLINE int cipc_event_wait(cipc_event_t *event, cipc_deadline_t deadline) {
  return __builtin_expect(cipc_event_is_set(event), 1) ? 0
                                                       : cipc_event_wait_slowly(event, deadline);
}

/// Makes a readiness of an event, which stays mapped until `cipc_readiness_close`: ready while it
/// is set, and readable also where it is set and cleared again at once. See readiness.h, which says
/// what can fail.
CIPC_API CIPC_CHECKED int cipc_event_readiness_open(cipc_readiness_t **readiness,
                                                    cipc_event_t *event);

// MARK: By name

/// The type of a segment whose payload is an event: Swift's `Event`.
CIPC_API cipc_segment_type_t cipc_event_type(void);

/// Opens the event of that name, which is at `cipc_segment_address(*segment)`; the caller closes
/// the segment.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_event_open_named(cipc_segment_t **segment, const char *name);

/// Opens the event of that name, or makes it, set if `is_set`: CIPC_SEGMENT_CREATED or 0. As
/// `cipc_event_open_named` and `cipc_segment_open_or_create`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_event_open_or_create(cipc_segment_t **segment, const char *name,
                                                    int is_set);

CIPC_END_DECLS

#endif
