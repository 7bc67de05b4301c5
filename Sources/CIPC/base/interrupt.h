/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_INTERRUPT_PRIVATE_H
#define CIPC_INTERRUPT_PRIVATE_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>

#include "cipc/clock.h"
#include "cipc/interrupt.h"

// Whether signals end the waits of this thread.
bool cipc_interrupt_is_on(void);

// Before a sleep, and after one: CIPC_EINTR when it is to end, which is forgotten with that; 0.
int cipc_interrupt_check(void);
// Behind a slice in which nothing happened.
int cipc_interrupt_slice_ended(void);
// A system call of this thread was interrupted: CIPC_EINTR where that ends waits, 0 elsewhere.
int cipc_interrupt_arrived(void);

// Between the two no wait of this thread returns CIPC_EINTR: for what must be done to the end. They
// nest. What `cipc_interrupt` was called for meanwhile is kept.
void cipc_interrupt_pause(void);
void cipc_interrupt_resume(void);

// poll(2) until the deadline. How many are ready; 0: none, and the caller looks at the clock and
// calls again; CIPC_EINTR where the thread is interruptible; other -errno.
int cipc_interrupt_poll(struct pollfd *entries, nfds_t count, cipc_deadline_t deadline);

// For waits of the C library that go on behind a signal: where the thread is interruptible, its
// signals are held back, and the wait is cut into steps between which they are looked for.
typedef struct cipc_interrupt_hold {
  sigset_t before;
  cipc_deadline_t slice;
  bool is_on;
} cipc_interrupt_hold_t;

void cipc_interrupt_hold(cipc_interrupt_hold_t *hold);
// The end of the next step: `otherwise` where nothing is held; at most the deadline.
cipc_deadline_t cipc_interrupt_step(const cipc_interrupt_hold_t *hold, cipc_deadline_t otherwise,
                                    cipc_deadline_t deadline);
// Behind a step: CIPC_EINTR: one has arrived that has a handler, and the caller lets go; 0.
int cipc_interrupt_held(cipc_interrupt_hold_t *hold);
void cipc_interrupt_let_go(const cipc_interrupt_hold_t *hold);

#endif
