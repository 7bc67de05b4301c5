// SPDX-License-Identifier: Apache-2.0

/// The limit of calls with a limit that must end well, however late they begin.
///
/// So much is no limit: while long tests have the few threads of the pool, others are minutes late.
let patience = Duration.seconds(3600)
