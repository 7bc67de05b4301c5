/* SPDX-License-Identifier: Apache-2.0 */
/// Rings: messages of any size through shared memory, from many producers to many consumers.
///
/// A *record* is a number of bytes, put whole and taken whole. Records of one producer are taken in
/// the order in which they were put, those of several in the order of their commits. There is one
/// word that commits a put (the *tail*) and one that commits a get (the *head*); each holds the
/// whole state of its side, so that a process which is killed anywhere leaves nothing to repair:
/// its record is there whole, or was never put.
///
///     cipc_ring_t *ring;
///     int status = cipc_ring_create(&ring, NULL);
///     status = cipc_ring_put(ring, "hello", 5, CIPC_NO_DEADLINE);
///     ...
///     char text[64];
///     size_t length;
///     status = cipc_ring_get(ring, text, sizeof text, &length, CIPC_NO_DEADLINE);
///
/// Bytes can be written and read in place: `cipc_ring_reserve` and `cipc_ring_commit`,
/// `cipc_ring_peek` and `cipc_ring_release`. Several records put or taken between the two are one
/// commit: all of them or none.
///
/// *Sides.* Usually any number of processes and threads put and get (MPMC); each side has a
/// robust mutex. With CIPC_RING_SPSC there are none: the first process that puts is the producer
/// and the first that gets the consumer, one thread at a time each, until it closes its ring or
/// dies.
///
/// *Capacity.* A ring takes records until they fill its capacity, each costing its bytes, rounded
/// up to a multiple of 8, and 8 more (16 in a leased one); then producers wait. Address space is
/// reserved for all of it. Memory is allocated as records need it: where there is none, putting
/// fails, and no access faults later. A consumer that gets or waits for a record returns memory
/// that has not been needed for a twentieth of a second. While few bytes wait, they stay in the
/// same 64 KiB. An SPSC ring has all of its memory from the beginning.
///
/// *Leases.* In a ring made with CIPC_RING_LEASED a record is taken by `cipc_ring_lease` and stays
/// where it is until it is acknowledged. When its taker is proven dead, it is handed to another
/// consumer; with CIPC_RING_TRACKED it counts as done then. A lease never ends by time.
///
/// *The end.* `cipc_ring_finish` ends the stream: consumers get what is there and then
/// CIPC_EFINISHED. `cipc_ring_close` gives up one process's ring and says nothing to the others.
///
/// *Alone.* A process is alone with a ring when another process had it open, every other process
/// has closed it or is dead, and none is expected (`cipc_ring_offer`). A call that waits then goes
/// on waiting where an answer can still come, and ends with CIPC_ENOBODY where none can. An answer
/// can come while the ring has a name, by which the next process finds it; and from this process
/// itself, if it made the ring, has offered it to another, or has used the other side: put
/// something, for a call that waits for a record; taken something, for one that waits for room or
/// for everything to be acknowledged. So a pure consumer learns that its producers are dead, and a
/// pure producer that its consumers are. `cipc_ring_set_when_alone` makes calls wait for ever, or
/// end whenever the process is alone. A call that does not wait never gets CIPC_ENOBODY.
///
/// *Trust.* The mutexes are for processes that trust each other (mutex.h). Apart from them, no
/// bytes in the shared memory do more harm than false records and errors: each word is read once,
/// checked, and used from private memory. An SPSC ring has no mutex, so its two processes need not
/// trust each other.
///
/// Forks: a forked child has what its parent had open, and is another participant. It must not use
/// a ring in which a thread of its parent was between reserve and commit, or peek and release.
#ifndef CIPC_RING_H
#define CIPC_RING_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "element.h"
#include "readiness.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// One process's hold on a ring. Any number of threads may use it, an SPSC one's ends aside.
typedef struct cipc_ring cipc_ring_t;

/// How a ring is made.
enum {
  /// One producer and one consumer, without locks.
  CIPC_RING_SPSC = 1 << 0,
  /// Records are leased, and handed to another consumer when their taker dies before it
  /// acknowledged them.
  CIPC_RING_LEASED = 1 << 1,
  /// Records are leased, and count as acknowledged when their taker dies.
  CIPC_RING_TRACKED = 1 << 2
};

/// The capacity in bytes where none is given: 1 GiB; and that of an SPSC ring.
#define CIPC_RING_CAPACITY (UINT64_C(1) << 30)
#define CIPC_RING_CAPACITY_SPSC (UINT64_C(1) << 16)
/// The largest that can be given.
#define CIPC_RING_CAPACITY_MAXIMUM (UINT64_C(1) << 34)
/// The most records that can wait at a time, and what `records` may be at most.
#define CIPC_RING_RECORDS_MAXIMUM ((UINT64_C(1) << 28) - 1)
/// Bytes that a record costs besides its own, and in a leased ring.
#define CIPC_RING_HEADER 8
#define CIPC_RING_LEASED_HEADER 16

typedef struct cipc_ring_options {
  /// CIPC_RING_*, or'ed; LEASED and TRACKED exclude each other and SPSC.
  unsigned flags;
  /// Bytes, headers included; at least 64; 0 for CIPC_RING_CAPACITY. Ignored when opening.
  uint64_t capacity;
  /// How many records may wait at a time; 0 for as many as fit. Ignored when opening.
  uint64_t records;
  /// The type of what is put, equal in all programs: CIPC_FINGERPRINT_BYTES, CIPC_FINGERPRINT_TEXT
  /// or a result of `cipc_ring_fingerprint`; 0 where that need not be said. When opening,
  /// CIPC_FINGERPRINT_ANY accepts any type.
  uint64_t fingerprint;
  /// Shown in /proc/PID/maps; NULL for "cipc". At most 200 bytes.
  const char *label;
} cipc_ring_options_t;

/// What a record of a ring stands for.
enum {
  /// One element, as its bytes: Swift's `Queue<Int32>`.
  CIPC_RING_OF_ELEMENTS = 1,
  /// Any number of elements, one `stride` after the other: Swift's `Queue<[Float]>`. Of "uint8" it
  /// is CIPC_FINGERPRINT_BYTES.
  CIPC_RING_OF_ARRAYS = 2,
  /// A message, as data-only pickle: what Swift's `Queue` makes of all other types. Of the element
  /// the fingerprint alone counts.
  CIPC_RING_OF_MESSAGES = 4
};

/// The `fingerprint` of a ring whose records are of an element type, in one of these forms.
/// CIPC_FINGERPRINT_ANY for no element (NULL), for CIPC_FINGERPRINT_ANY and for no such form. Pure.
///
///     cipc_ring_options_t options = {
///         .fingerprint = cipc_ring_fingerprint(CIPC_RING_OF_ELEMENTS, cipc_element("int32"))};
///     int status = cipc_ring_open_or_create(&ring, "numbers", &options);
CIPC_API uint64_t cipc_ring_fingerprint(int form, const cipc_element_t *element);

// MARK: Opening and closing

/// Makes a ring in anonymous memory. `options` may be NULL: MPMC, 1 GiB. Its descriptor
/// (`cipc_ring_segment`) can be sent to other processes.
///
/// CIPC_EINVAL: options that do not go together, or beyond the maximum. CIPC_ENOMEM, CIPC_ENOSPC:
/// no memory for its beginning. CIPC_EMFILE and other -errno. Does not wait.
CIPC_API CIPC_CHECKED int cipc_ring_create(cipc_ring_t **ring, const cipc_ring_options_t *options);

/// Opens a ring that arrived as a descriptor, which it takes over on success. The flags and the
/// fingerprint of `options` (NULL for none) must be those that it was made with.
///
/// CIPC_ERINGHEADER: flags that differ, or a header that no ring has. Otherwise as
/// `cipc_segment_open`. Does not wait.
CIPC_API CIPC_CHECKED int cipc_ring_open(cipc_ring_t **ring, int descriptor,
                                         const cipc_ring_options_t *options);

/// Opens a ring by name. As `cipc_ring_open` and `cipc_segment_open_named`.
CIPC_API CIPC_CHECKED int cipc_ring_open_named(cipc_ring_t **ring, const char *name,
                                               const cipc_ring_options_t *options);

/// Makes a ring with a name, or opens the one that has it: CIPC_SEGMENT_CREATED or 0. As
/// `cipc_segment_open_or_create`; one that is there keeps its capacity.
CIPC_API CIPC_CHECKED int cipc_ring_open_or_create(cipc_ring_t **ring, const char *name,
                                                   const cipc_ring_options_t *options);

/// Says that the ring's descriptor is on its way to another process: as `cipc_segment_offer`, whose
/// ticket it is. That process counts as one that had the ring open, also if it is killed before.
///
/// CIPC_ECLOSED: shut. Does not block; any thread.
CIPC_API CIPC_CHECKED int cipc_ring_offer(cipc_ring_t *ring, uint32_t *ticket);

/// The segment of the ring, which the ring still owns: for its descriptor, its claim to a name, and
/// offers.
CIPC_API cipc_segment_t *cipc_ring_segment(const cipc_ring_t *ring);

/// Leaves the ring: every call inside, and every later one, returns CIPC_ECLOSED; leases go back,
/// and the other participants learn that this process is gone. A second call does nothing. Any
/// thread.
CIPC_API void cipc_ring_shut(cipc_ring_t *ring);

/// Shuts the ring and frees it; NULL is ignored. No thread may be inside.
CIPC_API void cipc_ring_close(cipc_ring_t *ring);

/// How long a blocking call spins before it sleeps, in nanoseconds. CIPC_RING_SPIN_ADAPTIVE, the
/// default: up to 100 µs, and not at all for a while after spinning in vain. Any thread.
#define CIPC_RING_SPIN_ADAPTIVE INT64_C(-1)
CIPC_API void cipc_ring_set_spin(cipc_ring_t *ring, int64_t nanoseconds);

/// What a call that waits does once its process is alone with the ring (see above).
enum {
  /// Ends with CIPC_ENOBODY where no answer can come any more. The default.
  CIPC_RING_ALONE_STANDARD = 0,
  /// Waits for ever.
  CIPC_RING_ALONE_WAIT = 1,
  /// Ends with CIPC_ENOBODY, also where this process itself could answer, or another one could find
  /// the name.
  CIPC_RING_ALONE_FAIL = 2
};

/// Says what calls through this `cipc_ring_t` do when alone: CIPC_RING_ALONE_*. Calls that wait
/// already notice within 200 ms. Never blocks; any thread.
CIPC_API void cipc_ring_set_when_alone(cipc_ring_t *ring, int when_alone);
CIPC_API int cipc_ring_when_alone(const cipc_ring_t *ring);

/// Whether this process is alone with the ring: 1 or 0; 0 where that cannot be told, since more
/// processes had it open than are counted (cipc_segment_others). It may be out of date at once.
/// Asks the kernel about each of the others, so not often. Never waits; any thread. CIPC_ECLOSED:
/// shut.
CIPC_API CIPC_CHECKED int cipc_ring_is_alone(cipc_ring_t *ring);

// MARK: Putting

/// A number of bytes.
typedef struct cipc_ring_bytes {
  const void *data;
  size_t length;
} cipc_ring_bytes_t;

/// Puts a record, waiting for space until the deadline.
///
/// 0. CIPC_ECAPACITY, at once: larger than the capacity will ever allow. CIPC_ETIMEDOUT: no space,
/// or another thread holds the producers' side. CIPC_EFINISHED. CIPC_ENOBODY: the ring is full,
/// and no process is left that could take anything (*Alone*, above). CIPC_ENOMEM, CIPC_ENOSPC:
/// no memory. CIPC_EBUSY: SPSC, and another process is the producer. CIPC_EDEADLK: this thread
/// is between reserve and commit. CIPC_ECLOSED: shut. CIPC_ERINGINDEX: the shared words are
/// scribbled over. Nothing was put then.
///
/// Any thread; safe after fork. Commit point: the store of the tail.
CIPC_API CIPC_CHECKED int cipc_ring_put(cipc_ring_t *ring, const void *data, size_t length,
                                        cipc_deadline_t deadline);

/// Puts as many of the records as there is space for now, in one commit; waits until there is space
/// for one.
///
/// How many (at most INT_MAX), or as `cipc_ring_put`. `count` 0 gives 0.
CIPC_API CIPC_CHECKED int cipc_ring_put_many(cipc_ring_t *ring, const cipc_ring_bytes_t *records,
                                             size_t count, cipc_deadline_t deadline);

/// Tries to put a record without waiting, and says where to sleep if it was in vain: see
/// cipc/wait.h. With `look`, looks for the dead. CIPC_EAGAIN: sleep on `*wait` (which is NULL where
/// the caller will not sleep). Otherwise as `cipc_ring_put`.
CIPC_API CIPC_CHECKED int cipc_ring_put_step(cipc_ring_t *ring, const void *data, size_t length,
                                             int look, cipc_wait_t *wait);

/// Reserves space for a record of `length` bytes, to be written in place: at `*payload`, aligned to
/// 8, until the commit. Waits as `cipc_ring_put`. The producers' side is the calling thread's until
/// it commits or cancels. Called again before that, adds another record to the same commit, without
/// waiting: CIPC_EAGAIN when there is no space beside the earlier ones, which stay reserved.
///
/// Otherwise as `cipc_ring_put`.
CIPC_API CIPC_CHECKED int cipc_ring_reserve(cipc_ring_t *ring, size_t length, void **payload,
                                            cipc_deadline_t deadline);

/// Tries to reserve; CIPC_EAGAIN as `cipc_ring_put_step`, otherwise as `cipc_ring_reserve`.
CIPC_API CIPC_CHECKED int cipc_ring_reserve_step(cipc_ring_t *ring, size_t length, void **payload,
                                                 int look, cipc_wait_t *wait);

/// Shortens the record that was reserved last. CIPC_EINVAL: longer than it is. CIPC_EPERM: nothing
/// is reserved by this thread.
CIPC_API CIPC_CHECKED int cipc_ring_shorten(cipc_ring_t *ring, size_t length);

/// Puts all that this thread has reserved. CIPC_EPERM: nothing is reserved.
///
/// Commit point: the store of the tail.
CIPC_API CIPC_CHECKED int cipc_ring_commit(cipc_ring_t *ring);

/// Gives up all that this thread has reserved: nothing is put. CIPC_EPERM: nothing is reserved.
CIPC_API CIPC_CHECKED int cipc_ring_cancel(cipc_ring_t *ring);

/// Ends the stream: nothing can be put any more. By any process; of an SPSC ring, by the producer.
/// Waits until the deadline for a producer that is putting. 0, also where it was finished before;
/// CIPC_ETIMEDOUT; CIPC_EBUSY, CIPC_EDEADLK, CIPC_ECLOSED and CIPC_ERINGINDEX as `cipc_ring_put`.
///
/// Commit point: the store of the tail, which has the bit that says so.
CIPC_API CIPC_CHECKED int cipc_ring_finish(cipc_ring_t *ring, cipc_deadline_t deadline);

/// 1 once the stream is finished; there may be records left.
CIPC_API int cipc_ring_is_finished(const cipc_ring_t *ring);

// MARK: Getting

/// A record in place.
typedef struct cipc_ring_record {
  /// Aligned to 8. Other processes can write there: copy, then check.
  const void *data;
  size_t length;
  /// Leased: names the lease.
  uint64_t ticket;
  /// Leased: how often it has been delivered, this time included; a `cipc_ring_get` whose buffer
  /// was too small counts. Never too low; one too high for each process that was killed while it
  /// took or handed back this record.
  uint32_t deliveries;
} cipc_ring_record_t;

/// Takes a record, waiting for one until the deadline, and copies it to `buffer`. In a leased ring
/// it is acknowledged with that.
///
/// 0, and `*length`. CIPC_EMSGSIZE: longer than `room`; `*length` says how long, and it stays where
/// it is. CIPC_EFINISHED: the stream is finished, and nothing is left. CIPC_ENOBODY: the ring is
/// empty, and no process is left that could put anything (*Alone*, above). CIPC_ETIMEDOUT;
/// CIPC_EBUSY, CIPC_EDEADLK, CIPC_ECLOSED as `cipc_ring_put`. CIPC_ERINGINDEX, CIPC_ERINGRECORD:
/// the shared words are scribbled over.
///
/// Any thread; safe after fork. Commit point: the store of the head.
CIPC_API CIPC_CHECKED int cipc_ring_get(cipc_ring_t *ring, void *buffer, size_t room,
                                        size_t *length, cipc_deadline_t deadline);

/// Tries to get; CIPC_EAGAIN as `cipc_ring_put_step`, otherwise as `cipc_ring_get`.
CIPC_API CIPC_CHECKED int cipc_ring_get_step(cipc_ring_t *ring, void *buffer, size_t room,
                                             size_t *length, int look, cipc_wait_t *wait);

/// Shows the next record in place, waiting for one until the deadline. The consumers' side is the
/// calling thread's until it releases or restores. Called again before that, shows the one behind,
/// without waiting: CIPC_EAGAIN when there is none. CIPC_EOPNOTSUPP: a leased ring.
///
/// Otherwise as `cipc_ring_get`.
CIPC_API CIPC_CHECKED int cipc_ring_peek(cipc_ring_t *ring, cipc_ring_record_t *record,
                                         cipc_deadline_t deadline);

/// Tries to peek; CIPC_EAGAIN as `cipc_ring_put_step`, otherwise as `cipc_ring_peek`.
CIPC_API CIPC_CHECKED int cipc_ring_peek_step(cipc_ring_t *ring, cipc_ring_record_t *record,
                                              int look, cipc_wait_t *wait);

/// Takes all that this thread was shown. CIPC_EPERM: nothing was shown.
///
/// Commit point: the store of the head.
CIPC_API CIPC_CHECKED int cipc_ring_release(cipc_ring_t *ring);

/// Leaves all that this thread was shown where it is. CIPC_EPERM: nothing was shown.
CIPC_API CIPC_CHECKED int cipc_ring_restore(cipc_ring_t *ring);

// MARK: Leases

/// Leases a record, waiting for one until the deadline; records that were handed back come first.
/// Its bytes stay in place until it is acknowledged or returned, and nothing is held meanwhile;
/// records put later wait for space behind it. The lease is the process's.
///
/// CIPC_EOPNOTSUPP: not a leased ring. CIPC_ENOMEM: no (private) memory to note it in. Otherwise as
/// `cipc_ring_get`.
///
/// Commit point: the store of the head; of a record that was handed back, that of its owner.
CIPC_API CIPC_CHECKED int cipc_ring_lease(cipc_ring_t *ring, cipc_ring_record_t *record,
                                          cipc_deadline_t deadline);

/// Tries to lease; CIPC_EAGAIN as `cipc_ring_put_step`, otherwise as `cipc_ring_lease`.
CIPC_API CIPC_CHECKED int cipc_ring_lease_step(cipc_ring_t *ring, cipc_ring_record_t *record,
                                               int look, cipc_wait_t *wait);

/// Says that the record of a lease of this ring is done. CIPC_EPERM: not leased through this
/// `cipc_ring_t`, or acknowledged already. CIPC_ETIMEDOUT: another thread holds the consumers'
/// side.
///
/// Commit point: the store of the record's owner.
CIPC_API CIPC_CHECKED int cipc_ring_acknowledge(cipc_ring_t *ring, uint64_t ticket,
                                                cipc_deadline_t deadline);

/// The same for the lease taken first of those that are still held.
CIPC_API CIPC_CHECKED int cipc_ring_acknowledge_first(cipc_ring_t *ring, cipc_deadline_t deadline);

/// Hands a record back, to be leased again by any consumer. As `cipc_ring_acknowledge`. With
/// CIPC_RING_TRACKED, where leases do not delay the end, consumers may have seen the end by then.
CIPC_API CIPC_CHECKED int cipc_ring_return(cipc_ring_t *ring, uint64_t ticket,
                                           cipc_deadline_t deadline);

/// Waits until every record that was put is acknowledged: 0; CIPC_ETIMEDOUT; CIPC_ENOBODY: some are
/// not, and no process is left that could acknowledge them (*Alone*, above); CIPC_EOPNOTSUPP,
/// CIPC_ECLOSED.
CIPC_API CIPC_CHECKED int cipc_ring_join(cipc_ring_t *ring, cipc_deadline_t deadline);

/// Whether every record is acknowledged: 0; CIPC_EAGAIN as `cipc_ring_put_step`, otherwise as
/// `cipc_ring_join`.
CIPC_API CIPC_CHECKED int cipc_ring_join_step(cipc_ring_t *ring, int look, cipc_wait_t *wait);

// MARK: Looking

/// How full a ring is: a hint that may be out of date when it is read.
typedef struct cipc_ring_fill {
  /// Records that can be taken, and records that take space: in a leased ring also those that were
  /// taken and not acknowledged, and all behind them.
  uint64_t records;
  uint64_t unfinished;
  /// Bytes that these take, headers included.
  uint64_t bytes;
} cipc_ring_fill_t;

CIPC_API cipc_ring_fill_t cipc_ring_fill(const cipc_ring_t *ring);

/// The capacity in bytes, and in records: 0 for as many as fit.
CIPC_API uint64_t cipc_ring_capacity(const cipc_ring_t *ring);
CIPC_API uint64_t cipc_ring_records(const cipc_ring_t *ring);

/// The longest record that can ever be put.
CIPC_API size_t cipc_ring_record_maximum(const cipc_ring_t *ring);

/// What a ring looks like from outside, for tools: does not take part.
typedef struct cipc_ring_info {
  unsigned flags;
  int is_finished;
  uint64_t capacity;
  uint64_t capacity_records;
  cipc_ring_fill_t fill;
} cipc_ring_info_t;

/// As `cipc_segment_inspect`; CIPC_ESEGMENTKIND, CIPC_ERINGHEADER, CIPC_ERINGINDEX.
CIPC_API CIPC_CHECKED int cipc_ring_inspect(int descriptor, cipc_ring_info_t *info);

/// Makes a readiness (readiness.h) for records (`for_space` 0: ready when `cipc_ring_get` or
/// `cipc_ring_lease` would not wait) or for room (when a record of `length` bytes could be put);
/// also ready when a call that waits would end with an error. The ring must outlive it.
///
/// CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_ring_readiness_open(cipc_readiness_t **readiness, cipc_ring_t *ring,
                                                   int for_space, size_t length);

CIPC_END_DECLS

#endif
