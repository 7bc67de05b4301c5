/* SPDX-License-Identifier: Apache-2.0 */
/// CIPC: shared memory, robust locks, framed messages and child processes for
/// programs of more than one process on Linux.
///
/// Every function returns 0 or a positive result on success and a negative
/// status on failure (`cipc/status.h`), never aborts and never prints.
#ifndef CIPC_H
#define CIPC_H

#include "cipc/address.h"
#include "cipc/array.h"
#include "cipc/barrier.h"
#include "cipc/bytes.h"
#include "cipc/cell.h"
#include "cipc/clock.h"
#include "cipc/condition.h"
#include "cipc/connection.h"
#include "cipc/death.h"
#include "cipc/descriptor.h"
#include "cipc/element.h"
#include "cipc/event.h"
#include "cipc/foreign.h"
#include "cipc/frame.h"
#include "cipc/image.h"
#include "cipc/interrupt.h"
#include "cipc/journal.h"
#include "cipc/listener.h"
#include "cipc/mutex.h"
#include "cipc/participant.h"
#include "cipc/pipe.h"
#include "cipc/poller.h"
#include "cipc/process.h"
#include "cipc/processor.h"
#include "cipc/readiness.h"
#include "cipc/region.h"
#include "cipc/ring.h"
#include "cipc/rwlock.h"
#include "cipc/segment.h"
#include "cipc/semaphore.h"
#include "cipc/service.h"
#include "cipc/stack.h"
#include "cipc/status.h"
#include "cipc/trace.h"
#include "cipc/version.h"
#include "cipc/wait.h"

#endif
