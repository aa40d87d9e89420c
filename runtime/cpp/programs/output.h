// Predictions as lines of text or JSON.
#pragma once

#include <ostream>
#include <string>

#include "command_line.h"
#include "tmkd/classifier.h"

namespace programs {

/// `text` without what a terminal would obey; bytes that are not UTF-8 become U+FFFD.
std::string printable(const std::string& text);

/// What one image is; `frame` is its number in a sequence, or negative.
void print(std::ostream& out, const Arguments& arguments, const std::string& image, long frame,
           const tmkd::Classifier& model, const tmkd::Prediction& found);

/// Why an image cannot be used.
void print_problem(std::ostream& out, std::ostream& errors, const Arguments& arguments,
                   const std::string& image, const tmkd::Error& error);

void print(std::ostream& out, const Arguments& arguments, const tmkd::Verification& found);

}  // namespace programs
