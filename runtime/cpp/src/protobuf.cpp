// Source: https://protobuf.dev/programming-guides/encoding/
#include "protobuf.h"

#include "unfit.h"

namespace tmkd::internal {
namespace {

constexpr unsigned kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5;
constexpr std::uint64_t kHighestField = (1U << 29U) - 1;

[[noreturn]] void fail(const char* why) {
    throw Unfit(std::string("its engine is not an ONNX model: ") + why);
}

}  // namespace

std::uint64_t Fields::varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (rest_.size == 0) {
            fail("a number is cut short");
        }
        const std::uint8_t byte = rest_.data[0];
        rest_ = rest_.part(1, rest_.size - 1);
        value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    fail("a number is too long");
}

Bytes Fields::taken(std::uint64_t count) {
    if (count > rest_.size) {
        fail("a field is longer than its message");
    }
    const auto size = static_cast<std::size_t>(count);
    const Bytes found = rest_.part(0, size);
    rest_ = rest_.part(size, rest_.size - size);
    return found;
}

bool Fields::next(Field& field) {
    if (rest_.size == 0) {
        return false;
    }
    const std::uint64_t key = varint();
    if (key >> 3U == 0 || key >> 3U > kHighestField) {
        fail("a field has no valid number");
    }
    field = Field{};
    field.number = static_cast<std::uint32_t>(key >> 3U);
    switch (key & 7U) {
        case kVarint:
            field.value = varint();
            return true;
        case kEightBytes:
            field.bytes = taken(8);
            break;
        case kFourBytes:
            field.bytes = taken(4);
            break;
        case kBytes:
            field.bytes = taken(varint());
            break;
        default:
            fail("a field has an unknown type");
    }
    field.has_bytes = true;
    return true;
}

}  // namespace tmkd::internal
