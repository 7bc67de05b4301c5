/* SPDX-License-Identifier: Apache-2.0 */
// How pages get behind a mapping of shared memory: huge ones, and all of them at once.
#ifndef CIPC_PAGES_H
#define CIPC_PAGES_H

#include <stdbool.h>
#include <stddef.h>

// Rounds a length up to the huge pages of a descriptor that has them. 0; CIPC_EOVERFLOW, -errno.
int cipc_pages_round(int descriptor, size_t *length);

// Asks the kernel for huge pages where it has them; where it has none nothing happens. Before the
// pages are there: those of a file in place are not exchanged.
void cipc_pages_advise_huge(void *mapping, size_t length);

// Puts every page into the page table, so that no first access faults later. What memory has been
// given to the file is found; without memory for the rest it stops there. Cannot fail.
void cipc_pages_populate(void *mapping, size_t length, bool writable);

#endif
