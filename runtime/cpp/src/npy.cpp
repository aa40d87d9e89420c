// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include "npy.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace tmkd::internal {
namespace {

constexpr std::size_t kHeaderStart = 10;
constexpr std::size_t kMostDigits = 10;

[[noreturn]] void refuse() {
    throw std::invalid_argument("not an array as NumPy writes it");
}

void take(std::string_view& text, std::string_view expected) {
    if (text.substr(0, expected.size()) != expected) {
        refuse();
    }
    text.remove_prefix(expected.size());
}

std::uint64_t take_length(std::string_view& text) {
    std::size_t digits = 0;
    std::uint64_t value = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
        value = value * 10 + static_cast<std::uint64_t>(text[digits] - '0');
        if (++digits > kMostDigits) {
            refuse();
        }
    }
    if (digits == 0) {
        refuse();
    }
    text.remove_prefix(digits);
    return value;
}

}  // namespace

Array read_npy(Bytes content, const std::string& kind) {
    std::string_view text = content.text();
    take(text, std::string_view("\x93NUMPY\x01\x00", 8));
    if (text.size() < 2) {
        refuse();
    }
    const std::size_t header_bytes = content.data[8] | static_cast<std::size_t>(content.data[9])
                                                           << 8U;
    text.remove_prefix(2);
    if (text.size() < header_bytes) {
        refuse();
    }
    text = text.substr(0, header_bytes);
    take(text, "{'descr': '" + kind + "', 'fortran_order': False, 'shape': (");
    Array array;
    array.shape.push_back(take_length(text));
    while (text.substr(0, 2) == ", " && array.shape.size() < 4) {
        text.remove_prefix(2);
        array.shape.push_back(take_length(text));
    }
    take(text, "), }");
    const std::size_t blanks = std::min(text.find_first_not_of(' '), text.size());
    if (array.shape.size() < 2 || text.substr(blanks) != "\n") {
        refuse();
    }
    array.data =
        content.part(kHeaderStart + header_bytes, content.size - kHeaderStart - header_bytes);
    std::uint64_t left = array.data.size;
    const std::uint64_t item = kind == "|u1" ? 1 : 4;
    // divided instead of multiplied, so that no shape overflows
    bool fits = left % item == 0;
    left /= item;
    for (std::size_t axis = 0; fits && axis + 1 < array.shape.size(); ++axis) {
        fits = array.shape[axis] != 0 && left % array.shape[axis] == 0;
        left = fits ? left / array.shape[axis] : 0;
    }
    if (!fits || left != array.shape.back()) {
        refuse();
    }
    return array;
}

}  // namespace tmkd::internal
