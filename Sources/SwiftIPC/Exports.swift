// SPDX-License-Identifier: Apache-2.0

// Messages, their coding and the errors are a target of their own; whoever has this module has them.
@_exported public import MessageCoding
