/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_IMAGE_PRIVATE_H
#define CIPC_IMAGE_PRIVATE_H

#include "cipc/image.h"

// Has the kernel map the pages that the end of this process will need: those of the destructors
// of its images. Changes nothing else. Not beside other threads.
void cipc_image_touch_ends(void);

#endif
