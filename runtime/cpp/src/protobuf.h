// Protocol buffers in wire format.
#pragma once

#include <cstdint>

#include "bytes.h"

namespace tmkd::internal {

/// A field of a message: bytes, or a number.
struct Field {
    std::uint32_t number = 0;
    bool has_bytes = false;
    Bytes bytes;
    std::uint64_t value = 0;
};

/// Walks through the fields of a message. Groups, which are long deprecated, are refused: a parser
/// that knows them would see other fields.
class Fields {
  public:
    explicit Fields(Bytes message) : rest_(message) {}

    /// Whether there is another field, which is then in `field`.
    ///
    /// Throws Unfit if these bytes are not a protocol buffer.
    bool next(Field& field);

  private:
    std::uint64_t varint();
    Bytes taken(std::uint64_t count);

    Bytes rest_;
};

}  // namespace tmkd::internal
