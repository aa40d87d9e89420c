// The errors of this library. Each says what is wrong and what to do about it.
#pragma once

#include <stdexcept>
#include <string>

namespace tmkd {

/// Base of all errors of this library; `what()` is "where: problem advice".
class Error : public std::runtime_error {
  public:
    Error(const std::string& problem, const std::string& advice, const std::string& where = {})
        : std::runtime_error((where.empty() ? "" : where + ": ") + problem +
                             (advice.empty() ? "" : " " + advice)),
          problem_(problem),
          advice_(advice),
          where_(where) {}

    /// What is wrong, as a sentence.
    const std::string& problem() const noexcept { return problem_; }
    /// What to do about it, as a sentence.
    const std::string& advice() const noexcept { return advice_; }
    /// The file that it is about; empty if there is none.
    const std::string& where() const noexcept { return where_; }

  private:
    std::string problem_, advice_, where_;
};

/// The bundle is missing, damaged, unsafe, or computes other results on this machine.
class BundleError : public Error {
    using Error::Error;
};

/// This machine cannot run any engine of the bundle, although the bundle may be intact.
class RuntimeMissingError : public BundleError {
    using BundleError::BundleError;
};

/// The pixels cannot be classified.
class ImageError : public Error {
    using Error::Error;
};

/// An argument, other than an image, is out of range.
class ArgumentError : public Error {
    using Error::Error;
};

}  // namespace tmkd
