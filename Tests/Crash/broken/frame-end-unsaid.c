/* SPDX-License-Identifier: Apache-2.0 */
// A reader that does not tell the end of the stream inside of a frame from one between two.
// Caught: frame.write-many owns: 205 bytes were out when .* "the peer closed the connection"
#include "cipc/status.h"

#define CIPC_ETRUNCATED CIPC_EPEERCLOSED
#include "stream/frame.c"
