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

enum class Owner { anyone, this_user };

/// Reads the regular file at `path`. Symbolic links are followed, but not if the file must be this
/// user's own; nobody else may then be able to write it.
///
/// Throws Unfit if it is a pipe, a device or the like, larger than `limit` bytes, or somebody
/// else's; and std::system_error if it cannot be read.
FileContent read_regular(const std::string& path, std::uint64_t limit, Owner owner = Owner::anyone);

}  // namespace tmkd::internal
