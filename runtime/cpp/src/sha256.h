// SHA-256 (FIPS 180-4).
#pragma once

#include <string>

#include "bytes.h"

namespace tmkd::internal {

/// The digest in 64 lower-case hexadecimal digits.
std::string sha256(Bytes content);

}  // namespace tmkd::internal
