/* SPDX-License-Identifier: Apache-2.0 */
/// Segments: memory that several processes map.
///
/// *Anonymous* segments (memfd) live as long as a process has them open or mapped, and travel as
/// descriptors. They are sealed against resizing before any other process sees them, so no peer can
/// make an access fail. *Named* segments live in /dev/shm until they are unlinked; they cannot be
/// sealed, so a process that opens one trusts its owner's uid.
///
/// A *typed* segment begins with a header that says what it holds; opening
/// checks each field and the status names the one that differs. A *plain*
/// one (no type) is bytes alone, the same thing that shm_open or
/// Python's SharedMemory gives.
///
/// All memory is allocated at creation, unless its user asks otherwise (`backed`): if there is
/// none, creation fails, and no later access does.
///
/// A typed segment also knows which processes have it open. Waiters in it are woken as soon as any
/// process finds one of these dead, as a parent does when it learns of its child's end (`wait.h`).
#ifndef CIPC_SEGMENT_H
#define CIPC_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "participant.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// One process's hold on a segment: mapping and descriptor.
typedef struct cipc_segment cipc_segment_t;

/// The kinds of typed segments that this library makes; users take numbers from
/// CIPC_KIND_USER upwards.
enum {
  CIPC_KIND_MUTEX = 1,
  CIPC_KIND_VALUE = 2,
  CIPC_KIND_ATOMIC = 3,
  CIPC_KIND_ARRAY = 4,
  CIPC_KIND_STRING = 5,
  CIPC_KIND_SEMAPHORE = 6,
  CIPC_KIND_EVENT = 7,
  CIPC_KIND_CONDITION = 8,
  CIPC_KIND_BARRIER = 9,
  CIPC_KIND_RWLOCK = 10,
  CIPC_KIND_BYTES = 11,
  CIPC_KIND_REGION = 12,
  CIPC_KIND_RING = 13,
  CIPC_KIND_USER = 0x10000
};

/// What a typed segment holds.
typedef struct cipc_segment_type {
  /// One of CIPC_KIND_*.
  uint32_t kind;
  /// The version of the layout that this kind has.
  uint32_t version;
  /// Bytes of an element, bytes from one to the next, and its alignment.
  uint64_t element_size;
  uint64_t stride;
  uint64_t alignment;
  /// Elements: `count * stride` bytes fit the segment.
  uint64_t count;
  /// A hash of the element type's name, equal in all programs: see element.h. When opening,
  /// CIPC_FINGERPRINT_ANY accepts any type of this size; with an `element_size` of 0, of any size.
  uint64_t fingerprint;
} cipc_segment_type_t;

/// Bytes before the payload of a typed segment.
#define CIPC_SEGMENT_HEADER_SIZE 128

/// Takes any count when it opens; `cipc_segment_type` tells which it was.
#define CIPC_SEGMENT_ANY_COUNT UINT64_MAX

/// How memory is made and mapped. All but CIPC_SEGMENT_PREFAULT are for plain segments alone: every
/// process that has a typed one open writes there.
enum {
  /// Opening: maps it for reading. A named one is also opened for reading, so that nothing in this
  /// process can write there, and permission to read is enough.
  CIPC_SEGMENT_READ_ONLY = 1 << 0,
  /// Opening: maps it for reading where writing is not permitted; `cipc_segment_is_writable` tells.
  CIPC_SEGMENT_ANY_ACCESS = 1 << 1,
  /// Creating, anonymous: the mapping made here, and what is forked with it, is the only one that
  /// can ever write. A receiver of the descriptor can only read, whatever it tries:
  /// F_SEAL_FUTURE_WRITE.
  CIPC_SEGMENT_ONE_WRITER = 1 << 2,
  /// Creating, anonymous: from the machine's pool of huge pages (hugetlb), or not at all. The size
  /// becomes a multiple of theirs.
  CIPC_SEGMENT_HUGE = 1 << 3,
  /// Huge pages as far as there are any: from the pool, or transparent ones.
  CIPC_SEGMENT_HUGE_IF_AVAILABLE = 1 << 4,
  /// All pages are entered into this process's page table at once: no first access faults.
  CIPC_SEGMENT_PREFAULT = 1 << 5
};

typedef struct cipc_segment_options {
  /// What it holds; NULL for plain bytes.
  const cipc_segment_type_t *type;
  /// For anonymous ones, shown in /proc/PID/maps; NULL for "cipc". At most 200 bytes.
  const char *label;
  /// Nonzero when creating: it will get a name from `cipc_segment_publish`.
  int named;
  /// CIPC_SEGMENT_*, or'ed; 0 for none.
  unsigned flags;
  /// Creating a named one: the permissions of the name, within 0644; 0 for 0600. Other users than
  /// the owner can at most read, and open only what root owns.
  unsigned mode;
  /// Creating a typed one: how much of the payload, from its beginning, gets memory; 0 for all. The
  /// rest is a hole: a process that uses it gives it memory first, with fallocate(2).
  size_t backed;
} cipc_segment_options_t;

/// A name, and the memory that this process gave it.
typedef struct cipc_segment_claim {
  /// With its slash; empty when no name was given.
  char name[252];
  uint64_t device;
  uint64_t inode;
  cipc_participant_t creator;
} cipc_segment_claim_t;

/// Writes the first contents of a segment; returns 0 or a negative status.
typedef int (*cipc_segment_prepare_t)(void *payload, void *context);

/// Makes a segment with room for `size` bytes, all zero, behind the header if it is typed.
/// `options` may be NULL: anonymous and plain. The caller closes it.
///
/// A typed or named one is for the caller alone until `cipc_segment_publish`.
///
/// CIPC_EINVAL: size 0, a type whose elements do not fit, or options that do not go together.
/// CIPC_EOVERFLOW: too large to represent. CIPC_ENOMEM, CIPC_ENOSPC: no memory. CIPC_EHUGEPAGES:
/// too few huge pages. CIPC_EOPNOTSUPP: CIPC_SEGMENT_HUGE with a name (/dev/shm has none), or
/// CIPC_SEGMENT_ONE_WRITER before Linux 5.1. CIPC_EMFILE and other -errno.
/// Does not wait.
CIPC_API CIPC_CHECKED int cipc_segment_create(cipc_segment_t **segment, size_t size,
                                              const cipc_segment_options_t *options);

/// Makes the contents valid: writes the READY word of a typed segment and gives a named one its
/// name. `name` is 1 to 250 bytes without a slash, not "." or "..", here and below; a slash before
/// them does not count, so that "/total" is "total". NULL for anonymous segments. The name belongs
/// to this user alone (mode 0600) unless the options said otherwise; neither attaching nor closing
/// takes it away. By the creator, once.
///
/// Commit point: the release store of READY; with a name, linkat(2), so that no process ever opens
/// a half-made segment. CIPC_EINVAL: the name, or its presence, does not fit the segment.
/// CIPC_EEXIST: the name is taken. -errno.
CIPC_API CIPC_CHECKED int cipc_segment_publish(cipc_segment_t *segment, const char *name);

/// Makes a named segment whose contents `prepare` writes, or opens the one that has the name: of
/// any number of processes that do so at the same time, one makes it and the others open what it
/// made. `named` of the options is implied; `prepare` gets the payload, all zero, and `context`,
/// may be NULL, and may run without its work being used. It may not wait for the others.
///
/// CIPC_SEGMENT_CREATED: made. 0: opened; a plain one may be larger than `size`. A negative status
/// of `prepare`: nothing was made. CIPC_ESEGMENTSIZE: a plain one that is smaller than `size`.
/// Otherwise as `cipc_segment_create`, `cipc_segment_publish` and `cipc_segment_open_named`. Does
/// not wait.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_segment_open_or_create(cipc_segment_t **segment, const char *name,
                                                      size_t size,
                                                      const cipc_segment_options_t *options,
                                                      cipc_segment_prepare_t prepare,
                                                      void *context);

/// Opens a segment that arrived as a descriptor, and checks seals, size and header. Takes the
/// descriptor over on success; on failure it stays the caller's.
///
/// Memory with a name is not sealed: it is accepted if it lies in /dev/shm, only its owner may
/// write there, and the owner is the caller's user or root.
///
/// CIPC_ESEGMENT*: the field named differs. CIPC_EINVAL: flags that do not go together with the
/// type. CIPC_EPERM, -EACCES: writing is not permitted. CIPC_ENOMEM, -errno.
CIPC_API CIPC_CHECKED int cipc_segment_open(cipc_segment_t **segment, int descriptor,
                                            const cipc_segment_options_t *options);

/// Opens a named segment. As `cipc_segment_open`, seals aside.
///
/// A plain one that is opened for writing may have been made by another program, without memory: it
/// gets memory here, so that no later access lacks it.
///
/// CIPC_ENOENT: no such name. CIPC_ESEGMENTOWNER: owned by another user than the caller's or root.
/// -ELOOP: a symbolic link. CIPC_ENOMEM, CIPC_ENOSPC: no memory for all of it.
CIPC_API CIPC_CHECKED int cipc_segment_open_named(cipc_segment_t **segment, const char *name,
                                                  const cipc_segment_options_t *options);

/// Removes a name, whichever process made it; the memory lives on until the last user closes it.
/// CIPC_ENOENT.
CIPC_API CIPC_CHECKED int cipc_segment_unlink(const char *name);

/// The name that this process gave the segment, which it may take back with
/// `cipc_segment_withdraw`. Empty when it gave none, as for every segment that it opened. Outlives
/// the segment.
CIPC_API cipc_segment_claim_t cipc_segment_claim(const cipc_segment_t *segment);

/// Removes a name, by the process that gave it; the memory lives on until the last user closes it.
///
/// CIPC_EPERM: this process did not give it (it opened the segment, or was forked by the one that
/// did). CIPC_ENOENT: the name is gone, or names something else by now. Does not wait.
CIPC_API CIPC_CHECKED int cipc_segment_withdraw(const cipc_segment_claim_t *claim);

/// The payload: behind the header if there is one. Aligned to 64 bytes. Valid until
/// `cipc_segment_close`.
CIPC_API void *cipc_segment_address(const cipc_segment_t *segment);

/// Bytes of payload: at least what was asked for at creation, kept in private
/// memory since the segment was checked.
CIPC_API size_t cipc_segment_size(const cipc_segment_t *segment);

/// 1 if this process may write there, 0 if the memory is mapped for reading.
CIPC_API int cipc_segment_is_writable(const cipc_segment_t *segment);

/// The descriptor, still the segment's: duplicate or send it, do not close it.
CIPC_API int cipc_segment_descriptor(const cipc_segment_t *segment);

/// What the segment holds: the private copy that was checked. kind 0 for plain bytes.
CIPC_API cipc_segment_type_t cipc_segment_type(const cipc_segment_t *segment);

/// The `count` of that: elements of an array, permits of a semaphore, parties of a barrier, the
/// capacity of bytes or a text, and so on.
CIPC_API uint64_t cipc_segment_count(const cipc_segment_t *segment);

/// What `cipc_status_message` says of a status. If this thread last got that status for memory that
/// it asked for (a segment, a ring, an object of a region), also which field differs, its value,
/// and the value expected, such as "segment type fingerprint: int32 instead of float64; another
/// element type". Never NULL; valid until this thread asks for memory again.
CIPC_API const char *cipc_segment_refusal(int status);

/// Unmaps and closes; NULL is ignored. No thread may be using the memory, nor hold a mutex in it.
CIPC_API void cipc_segment_close(cipc_segment_t *segment);

// MARK: Participants

/// The state of a process that entered itself in a typed segment by creating or opening it.
typedef enum cipc_segment_presence {
  CIPC_SEGMENT_ATTACHED = 0,
  /// Ended without closing the segment, and not taken out yet.
  CIPC_SEGMENT_DEAD = 1,
  /// Expected: the process named has sent the segment to another one, which has not opened it yet;
  /// or the process named is the receiver.
  CIPC_SEGMENT_PENDING = 2,
  /// It is unknown whether it is alive.
  CIPC_SEGMENT_UNKNOWN = 3
} cipc_segment_presence_t;

typedef struct cipc_segment_participant {
  cipc_participant_t identity;
  cipc_segment_presence_t presence;
} cipc_segment_participant_t;

/// What the header of a typed segment says.
typedef struct cipc_segment_info {
  cipc_segment_type_t type;
  /// Bytes of payload, which begin CIPC_SEGMENT_HEADER_SIZE bytes into the segment.
  size_t size;
  /// The inode of the pid namespace that its identities are of.
  uint64_t pid_namespace;
  /// Whether its creator has published it.
  int is_ready;
  /// How often one of its participants was found dead, and how many there have been at a time.
  uint32_t table_epoch;
  uint32_t table_high;
} cipc_segment_info_t;

/// How many other processes have a typed segment open, or are about to: those that it was offered
/// to. A process that has it open twice counts twice. Takes out those that have died.
///
/// Attaching never fails for want of a place in the table: beyond 1,024 at a time, or where there
/// is no memory for more, processes are not counted. A forked child is counted once it first takes
/// a lock, a permit or the like. CIPC_EINVAL: plain. Does not block; any thread.
CIPC_API CIPC_CHECKED int cipc_segment_others(cipc_segment_t *segment);

/// Says that the segment's descriptor is on its way to another process, which counts from now on.
/// Once it has opened the segment, it settles the offer with `ticket`. The caller may close its
/// segment meanwhile; if the caller dies, the offer no longer counts.
///
/// CIPC_EINVAL: plain. Does not block; any thread.
CIPC_API CIPC_CHECKED int cipc_segment_offer(cipc_segment_t *segment, uint32_t *ticket);

/// Names the receiver of an offer. To be called by the process that made the offer, before any
/// other process can have the ticket. From then on the offer ends when the receiver dies, and no
/// longer when the caller does. A ticket that is not an offer of the caller's is ignored.
///
/// CIPC_EINVAL: plain. Does not block; any thread.
///
/// Commit point: the store of the entry.
CIPC_API CIPC_CHECKED int cipc_segment_offer_to(cipc_segment_t *segment, uint32_t ticket,
                                                cipc_participant_t to);

/// Ends an offer of the caller's when `descriptor`, the reading end of a pipe, is at its end: the
/// other end travels along with the message, so that the kernel closes it when the message is lost
/// with its receiver. `cipc_segment_others` of this process looks at it, until this segment is
/// closed. Takes the descriptor over on success.
///
/// CIPC_EINVAL: plain. CIPC_ECLOSED: left. CIPC_ENOMEM. Does not block; any thread.
CIPC_API CIPC_CHECKED int cipc_segment_offer_until(cipc_segment_t *segment, uint32_t ticket,
                                                   int descriptor);

/// Ends an offer: called by its receiver or by its sender. A ticket that is not an offer's is
/// ignored. CIPC_EINVAL: plain.
CIPC_API CIPC_CHECKED int cipc_segment_settle(cipc_segment_t *segment, uint32_t ticket);

/// Reads the header of a typed segment of whatever type, for tools: does not take part in it.
///
/// CIPC_ESEGMENTSIZE, CIPC_ESEGMENTMAGIC, CIPC_ESEGMENTVERSION: not a typed segment of this
/// version. -errno.
CIPC_API CIPC_CHECKED int cipc_segment_inspect(int descriptor, cipc_segment_info_t *info);

/// Lists the participants of a typed segment, for tools: writes at most `room` of them and returns
/// how many there are. Does not take part, and changes nothing.
///
/// As `cipc_segment_inspect`; CIPC_ESEGMENTNAMESPACE: their numbers mean nothing here.
CIPC_API CIPC_CHECKED int cipc_segment_participants(int descriptor,
                                                    cipc_segment_participant_t *list, size_t room);

CIPC_END_DECLS

#endif
