/* SPDX-License-Identifier: Apache-2.0 */
// Children that are reaped though nobody waits for them: those watched, and those given up.
#ifndef CIPC_REAPER_PRIVATE_H
#define CIPC_REAPER_PRIVATE_H

// Reaps watched children that have ended, where no thread does; now and then, so that it costs the
// same however many there are.
void cipc_process_sweep(void);

#endif
