// Arrays as NumPy saves them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bytes.h"

namespace tmkd::internal {

struct Array {
    std::vector<std::uint64_t> shape;
    Bytes data;  // exactly what the shape asks for
};

/// A view of a .npy file's array of 2 to 4 axes, in C order, whose type is `kind`: "|u1" or "<f4".
/// The header must be exactly what NumPy writes.
///
/// Throws std::invalid_argument if it is anything else.
Array read_npy(Bytes content, const std::string& kind);

}  // namespace tmkd::internal
