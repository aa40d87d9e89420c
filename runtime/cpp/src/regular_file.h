// Files that others provide: regular ones of bounded size, and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "bytes.h"

namespace tmkd::internal {

/// The content of a file.
struct FileContent {
    std::unique_ptr<std::uint8_t[]> data;  // not a vector, which would write zeros first
    std::size_t size = 0;

    Bytes view() const { return {data.get(), size}; }
};

/// Reads the regular file at `path`; symbolic links are followed.
///
/// Throws Unfit if it is a pipe, a device or the like, or larger than `limit` bytes, and
/// std::system_error if it cannot be read.
FileContent read_regular(const std::string& path, std::uint64_t limit);

}  // namespace tmkd::internal
