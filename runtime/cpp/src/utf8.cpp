#include "utf8.h"

namespace tmkd::internal {
namespace {

constexpr bool within(std::int32_t code, std::int32_t first, std::int32_t last) {
    return code >= first && code <= last;
}

}  // namespace

std::int32_t next_code_point(std::string_view text, std::size_t& at) {
    const auto first = static_cast<unsigned char>(text[at++]);
    if (first < 0x80) {
        return first;
    }
    // how many bytes follow, and the least code point that needs as many
    std::size_t more = 0;
    std::int32_t code = 0, least = 0;
    if (first >= 0xc2 && first <= 0xdf) {
        more = 1, code = first & 0x1f, least = 0x80;
    } else if (first >= 0xe0 && first <= 0xef) {
        more = 2, code = first & 0x0f, least = 0x800;
    } else if (first >= 0xf0 && first <= 0xf4) {
        more = 3, code = first & 0x07, least = 0x10000;
    } else {
        return -1;
    }
    if (text.size() - at < more) {
        return -1;
    }
    for (std::size_t place = 0; place < more; ++place) {
        const auto byte = static_cast<unsigned char>(text[at + place]);
        if ((byte & 0xc0) != 0x80) {
            return -1;
        }
        code = code << 6 | (byte & 0x3f);
    }
    if (code < least || code > 0x10ffff || within(code, 0xd800, 0xdfff)) {
        return -1;
    }
    at += more;
    return code;
}

void append_code_point(std::string& text, std::uint32_t code) {
    const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
    if (code < 0x80) {
        add(code);
    } else if (code < 0x800) {
        add(0xc0U | code >> 6U);
        add(0x80U | (code & 0x3fU));
    } else if (code < 0x10000) {
        add(0xe0U | code >> 12U);
        add(0x80U | (code >> 6U & 0x3fU));
        add(0x80U | (code & 0x3fU));
    } else {
        add(0xf0U | code >> 18U);
        add(0x80U | (code >> 12U & 0x3fU));
        add(0x80U | (code >> 6U & 0x3fU));
        add(0x80U | (code & 0x3fU));
    }
}

bool is_invisible(std::int32_t code) {
    // Joiners and marks of direction stay, because Persian, Hebrew and others spell with them.
    return within(code, 0, 0x1f) || within(code, 0x7f, 0x9f) || within(code, 0x2028, 0x202e) ||
           within(code, 0x2066, 0x2069);
}

}  // namespace tmkd::internal
