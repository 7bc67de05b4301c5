/* SPDX-License-Identifier: Apache-2.0 */
// How much memory there is to be had.
#ifndef CIPC_MEMORY_H
#define CIPC_MEMORY_H

#include <stddef.h>

// 0, or CIPC_ENOMEM when `size` bytes are more than the machine and the cgroup of this process can
// give: fallocate(2) on a memfd would go on until the out-of-memory killer ends somebody.
// A forecast: what others take in the meantime is not seen. Sizes below 1 MiB are let through.
int cipc_memory_check(size_t size);

#endif
