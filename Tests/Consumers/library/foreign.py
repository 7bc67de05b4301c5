# SPDX-License-Identifier: Apache-2.0
"""A Python program with a Swift library in it that starts children."""
import ctypes
import sys

library = ctypes.CDLL(sys.argv[1])
if sys.argv[2] == "bootstrap":
    library.tasks_bootstrap()
print("main runs", flush=True)
library.tasks_double(21)
