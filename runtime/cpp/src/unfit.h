// Why a bundle cannot be used, before it is known which bundle that is.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "tmkd/errors.h"

namespace tmkd::internal {

/// The message completes "The bundle cannot be used: ...".
class Unfit : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The error for an unusable bundle.
inline BundleError broken(const std::string& path, const std::string& what) {
    return BundleError("The bundle cannot be used: " + what + ".",
                       "Copy it again from its origin and compare the SHA-256 of both copies, or "
                       "create it again.",
                       path);
}

/// At most 60 bytes of a text from a stranger, in quotes, with all but printable ASCII escaped.
inline std::string quoted(std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    std::string shown = "'";
    for (const char sign : text.substr(0, 60)) {
        const auto code = static_cast<unsigned char>(sign);
        if (code < 0x20 || code > 0x7e) {
            shown += "\\x";
            shown += digits[code >> 4U];
            shown += digits[code & 0xfU];
        } else {
            shown += sign;
        }
    }
    return shown + "'";
}

}  // namespace tmkd::internal
