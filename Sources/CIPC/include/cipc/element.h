/* SPDX-License-Identifier: Apache-2.0 */
/// Element types: what the values, arrays and records in shared memory are made of, as one number
/// that programs in all languages compute alike.
///
/// A type has a *name*. Its *fingerprint*, which stands in the header of a segment, is the 64-bit
/// FNV-1a hash of the name's bytes: start with 0xcbf29ce484222325; for each byte, exclusive-or it
/// in, then multiply by 0x100000001b3 modulo 2^64. The types below have the names and fingerprints
/// of this list for good. Swift's `Int32` is "int32", its `Double` "float64"; `Int` and `Int64` are
/// one type, and so are `UInt` and `UInt64`.
///
/// A program's own type has the name that its programs agree on: here by `cipc_element_init`, in
/// Swift by `NamedType`. A Swift type that names none has its qualified name, such as
/// "Weather.Reading".
///
///     struct reading { double celsius; uint32_t station; };
///     cipc_element_t element;
///     int status = cipc_element_init(&element, "com.example.reading", 12, 8);
///     ...
///     status = cipc_cell_open_named(&segment, "latest", &element);
///
/// A program that needs only the bytes opens an object of any type with CIPC_FINGERPRINT_ANY.
///
/// All functions are pure: any thread, safe after fork and in signal handlers.
#ifndef CIPC_ELEMENT_H
#define CIPC_ELEMENT_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

CIPC_BEGIN_DECLS

// clang-format off
/// X(NAME, name, size, alignment): numbers, and the truth value, which is 0 or 1.
#define CIPC_ELEMENT_LIST(X) \
  X(INT8,    "int8",     1,  1) \
  X(INT16,   "int16",    2,  2) \
  X(INT32,   "int32",    4,  4) \
  X(INT64,   "int64",    8,  8) \
  X(INT128,  "int128",  16, 16) \
  X(UINT8,   "uint8",    1,  1) \
  X(UINT16,  "uint16",   2,  2) \
  X(UINT32,  "uint32",   4,  4) \
  X(UINT64,  "uint64",   8,  8) \
  X(UINT128, "uint128", 16, 16) \
  X(FLOAT16, "float16",  2,  2) \
  X(FLOAT32, "float32",  4,  4) \
  X(FLOAT64, "float64",  8,  8) \
  X(FLOAT80, "float80", 16, 16) \
  X(BOOL,    "bool",     1,  1)

#define CIPC_FINGERPRINT_INT8     UINT64_C(0xf5a67dc57a8fe232)
#define CIPC_FINGERPRINT_INT16    UINT64_C(0xf9e84c8f42970271)
#define CIPC_FINGERPRINT_INT32    UINT64_C(0xf9e1c08f4291a8df)
#define CIPC_FINGERPRINT_INT64    UINT64_C(0xf9d0c88f42834344)
#define CIPC_FINGERPRINT_INT128   UINT64_C(0x3cc9e86e26a4537f)
#define CIPC_FINGERPRINT_UINT8    UINT64_C(0x34fa7f24f14f37fb)
#define CIPC_FINGERPRINT_UINT16   UINT64_C(0x54bf46c60981dbb2)
#define CIPC_FINGERPRINT_UINT32   UINT64_C(0x54c64ac60988012c)
#define CIPC_FINGERPRINT_UINT64   UINT64_C(0x54d746c609966d93)
#define CIPC_FINGERPRINT_UINT128  UINT64_C(0x82d35482279cb53a)
#define CIPC_FINGERPRINT_FLOAT16  UINT64_C(0x8cfbaea388575d7e)
#define CIPC_FINGERPRINT_FLOAT32  UINT64_C(0x8d029aa3885d5a30)
#define CIPC_FINGERPRINT_FLOAT64  UINT64_C(0x8cf8aea3885527a7)
#define CIPC_FINGERPRINT_FLOAT80  UINT64_C(0x8d1aa6a388720075)
#define CIPC_FINGERPRINT_BOOL     UINT64_C(0xcd2fd49bc6b014bd)
/// Records of a ring that are any bytes; Swift's `Queue<[UInt8]>`.
#define CIPC_FINGERPRINT_BYTES    UINT64_C(0x2f2ec0474f1c4fe4)
/// Records of a ring that are UTF-8 without a zero at the end; Swift's `Queue<String>`.
#define CIPC_FINGERPRINT_TEXT     UINT64_C(0xfa04f4ef1995407e)
// clang-format on

/// Opens an object of any type; makes none. In an element of size 0 the size may be any, too:
/// `cipc_segment_type` then tells it.
#define CIPC_FINGERPRINT_ANY UINT64_MAX

/// An element type. A program may also fill it in itself.
typedef struct cipc_element {
  /// Bytes of one, without what pads it to the next: up to the end of its last member.
  uint64_t size;
  /// Bytes from one to the next: the size rounded up to the alignment; what C's `sizeof` gives.
  uint64_t stride;
  uint64_t alignment;
  uint64_t fingerprint;
} cipc_element_t;

/// The fingerprint of a name: see above. 0 for NULL.
CIPC_API uint64_t cipc_fingerprint_of(const char *name);

/// A type of the list by its name, such as "int32"; NULL for any other. Static storage.
CIPC_API const cipc_element_t *cipc_element(const char *name);

/// Describes a program's own type: of `size` bytes up to the end of its last member, which is what
/// Swift calls the size, and an alignment that is a power of two.
///
/// CIPC_EINVAL: no name, no size, an alignment that is not a power of two, or the name of a type of
/// the list with another size or alignment.
CIPC_API CIPC_CHECKED int cipc_element_init(cipc_element_t *element, const char *name, size_t size,
                                            size_t alignment);

/// The name of a type of the list, "bytes", or "text", by its fingerprint; NULL for any other.
CIPC_API const char *cipc_element_name(uint64_t fingerprint);

CIPC_END_DECLS

#endif
