// UTF-8 (RFC 3629).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tmkd::internal {

/// The code point that starts at `at`, which is moved behind it; -1 if it is not valid UTF-8, and
/// `at` is then moved by one byte.
std::int32_t next_code_point(std::string_view text, std::size_t& at);

/// Appends a code point, which is no surrogate.
void append_code_point(std::string& text, std::uint32_t code);

/// Whether a terminal would obey the code point, or it hides or reverses text around it.
bool is_invisible(std::int32_t code);

}  // namespace tmkd::internal
