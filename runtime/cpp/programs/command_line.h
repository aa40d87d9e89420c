// The arguments of tmkd-classify.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace programs {

// The exit codes of tmkd-deploy.
constexpr int kOk = 0, kRequest = 2, kEnvironment = 4, kData = 5;

/// The request is wrong; the message is a sentence.
class UsageError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct FrameSize {
    std::size_t width, height;
};

struct Arguments {
    std::string bundle;
    std::vector<std::string> images;  // "-" is standard input
    std::optional<FrameSize> frame;   // images are raw RGB frames of this size
    std::size_t top = 0;              // how many classes to list; 0 if only the predicted one
    int threads = 0;
    bool as_json = false, verify = false, help = false;
};

extern const char* const kHelp;

/// Throws UsageError.
Arguments parse_arguments(const std::vector<std::string>& words);

}  // namespace programs
