// The members of a zip file that stores them uncompressed, as views into it.
#pragma once

#include <map>
#include <string>

#include "bytes.h"

namespace tmkd::internal {

/// Reads the directory of a zip file. Every name is a plain file name.
///
/// Throws Unfit if the file is incomplete, has a comment or is of the format for huge files; or if
/// a member is compressed, encrypted, not a regular file, there twice, or overlaps another.
std::map<std::string, Bytes> zip_members(Bytes archive);

/// Whether `name` is 1 to 128 of the characters A-Z a-z 0-9 . _ - and begins with none of the last
/// three.
bool is_plain_name(const std::string& name);

}  // namespace tmkd::internal
