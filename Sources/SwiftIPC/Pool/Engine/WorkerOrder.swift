// SPDX-License-Identifier: Apache-2.0

/// An order from a pool to a worker.
enum WorkerOrder {
  /// Learn a function, which later orders call by its name.
  case define(PoolFunction)
  /// Apply the job's function to these of its elements, one after the other, and report each.
  ///
  /// The engine has the job write the elements (`PoolJob.write`), where it wants their bytes, once and
  /// during the call.
  case run(PoolJob, Range<Int>)
  /// End once the orders before this one are carried out.
  case stop
}
