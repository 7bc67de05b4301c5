import Glibc
import SwiftIPC

@main struct Imaging {
  static func main() async throws {
    let python = try Connection(adopting: Int32(CommandLine.arguments[1])!)
    let isNew = try await python.receive(Bool.self)

    let image = try SharedArray<Float>(shape: 480, 640, repeating: 0.5)
    image[1, 2] = 7
    try await python.send(.tuple([.integer(image.memoryOffset), 480, 640]) as MessageValue)
    let descriptor = try image.memoryDescriptor()
    try await python.sendHandles([descriptor], dialect: isNew ? .acknowledged : .plain)
    close(descriptor)

    _ = try await python.receive()
    print(image[1, 2], image[479, 639])
  }
}
