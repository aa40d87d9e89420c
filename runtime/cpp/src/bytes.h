// A view of bytes that someone else owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tmkd::internal {

struct Bytes {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;

    /// The `count` bytes from `start`, both of which must lie inside.
    Bytes part(std::size_t start, std::size_t count) const { return {data + start, count}; }

    std::string_view text() const { return {reinterpret_cast<const char*>(data), size}; }
};

}  // namespace tmkd::internal
