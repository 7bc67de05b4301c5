// SPDX-License-Identifier: Apache-2.0
import CFloors

extension Contest {
  /// The floor against a second one of itself: how far from 1 this line is, that far are the others
  /// to be doubted.
  static let control = Contest(
    name: "control: the same C on both sides",
    floorName: "robust mutex pair"
  ) { _ in
    let one = floor_mutex_create()
    let other = floor_mutex_create()
    return Sides(
      ours: { floor_mutex_pairs(one, $0) },
      floor: { floor_mutex_pairs(other, $0) })
  }
}
