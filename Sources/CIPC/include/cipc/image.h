/* SPDX-License-Identifier: Apache-2.0 */
/// Addresses that two processes of the same program both understand.
///
/// The kernel loads a program and its libraries at other addresses each time, so
/// a pointer to a function means nothing to a child that was spawned. The image
/// (the program's file, or the shared library) that holds the function and the
/// distance from the image's beginning do. An image is known by its build id, or
/// by a fingerprint of its unwind table where the linker wrote no build id: the
/// table lists where each function begins, so an image whose functions have
/// moved has another one.
///
/// Nothing here blocks except on the dynamic loader's own lock; every function may be called from
/// any thread, and after a fork of a program of one thread.
#ifndef CIPC_IMAGE_H
#define CIPC_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

CIPC_BEGIN_DECLS

#define CIPC_IMAGE_ID_MAX 32

/// A place in an image. Plain bytes without padding or pointers: it may be sent
/// to another process as it stands.
typedef struct cipc_image_location {
  /// Bytes from the address that the image was loaded at.
  uint64_t offset;
  /// Bytes used in `id`; 0 where nothing identifies the image.
  uint32_t id_size;
  /// 1 for the program's own file, 0 for a shared library.
  uint32_t is_program;
  uint8_t id[CIPC_IMAGE_ID_MAX];
} cipc_image_location_t;

/// Says where `address` lies.
///
/// Returns CIPC_OK; CIPC_ENOENT when no loaded image holds the address;
/// CIPC_EINVAL for NULL arguments.
CIPC_API CIPC_CHECKED int cipc_image_locate(const void *address, cipc_image_location_t *location);

/// Whether the bytes at `address` are those of the image's file, in every process that has loaded
/// it: 1 where the program cannot write it (code, constants, and tables that only the loader fills
/// in), 0 elsewhere. The runtimes of languages make tables of their own in an image's variables.
///
/// Returns CIPC_ENOENT when no loaded image holds the address; CIPC_EINVAL for NULL.
CIPC_API CIPC_CHECKED int cipc_image_is_constant(const void *address);

/// The address of a location in this process. Only the image and the bounds are checked: the caller
/// has to know what lies there, so take locations only from a trusted process.
///
/// Returns CIPC_OK; CIPC_ENOENT when no loaded image has that id, or the offset
/// is outside it; CIPC_EINVAL for NULL arguments or a size beyond the array.
CIPC_API CIPC_CHECKED int cipc_image_resolve(const cipc_image_location_t *location,
                                             const void **address);

/// Writes the file name of the image that holds `address`, without its directory, cut to `room`; an
/// empty name for the program's own file. With NULL, the image that this function is in.
///
/// Returns CIPC_OK; CIPC_ENOENT when no loaded image holds the address; CIPC_EINVAL for no room.
CIPC_API CIPC_CHECKED int cipc_image_name(const void *address, char *name, size_t room);

/// Lists the variables that hold zeros in a program's file (those of .bss) and whose names begin
/// with `prefix`: writes the names one after another, each with a 0 byte behind it, and their total
/// length. Reads the symbol table, which may be megabytes, and allocates room for it.
///
/// Returns CIPC_OK; CIPC_ENOENT for a file without a symbol table, as a stripped one is, and for a
/// file that is not a program for this machine; CIPC_ENOSPC for more names than fit; CIPC_EINVAL
/// for NULL arguments; the statuses of open(2).
CIPC_API CIPC_CHECKED int cipc_image_file_list_zeroed(const char *path, const char *prefix,
                                                      char *names, size_t room, size_t *length);

CIPC_END_DECLS

#endif
