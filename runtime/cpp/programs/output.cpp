#include "output.h"

#include <iomanip>
#include <sstream>

#include "utf8.h"

namespace programs {
namespace {

using tmkd::internal::append_code_point;
using tmkd::internal::is_invisible;
using tmkd::internal::next_code_point;

constexpr std::uint32_t kReplacement = 0xfffd;

/// A JSON string. What a terminal would obey is left out, as in text.
std::string json(const std::string& text) {
    std::string quoted = "\"";
    for (const char sign : printable(text)) {
        if (sign == '"' || sign == '\\') {
            quoted += '\\';
        }
        quoted += sign;
    }
    return quoted + '"';
}

std::string json(double number) {
    std::ostringstream text;
    text << std::setprecision(17) << number;
    return text.str();
}

std::string percent(double share) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(1) << 100 * share << " %";
    return text.str();
}

void print_json(std::ostream& out, const Arguments& arguments, const std::string& image, long frame,
                const tmkd::Classifier& model, const tmkd::Prediction& found) {
    out << "{\"image\": " << json(image);
    if (frame >= 0) {
        out << ", \"frame\": " << frame;
    }
    out << ", \"label\": " << json(found.label) << ", \"index\": " << found.index
        << ", \"confidence\": " << json(found.confidence) << ", \"probabilities\": {";
    const char* separator = "";
    const std::size_t count = arguments.top != 0 ? arguments.top : found.probabilities.size();
    for (const std::size_t label : found.top(count)) {
        out << separator << json(model.class_names()[label]) << ": "
            << json(found.probabilities[label]);
        separator = ", ";
    }
    out << "}}\n";
}

}  // namespace

std::string printable(const std::string& text) {
    std::string clean;
    for (std::size_t at = 0; at < text.size();) {
        const std::int32_t code = next_code_point(text, at);
        append_code_point(clean, code < 0 || is_invisible(code) ? kReplacement
                                                                : static_cast<std::uint32_t>(code));
    }
    return clean;
}

void print(std::ostream& out, const Arguments& arguments, const std::string& image, long frame,
           const tmkd::Classifier& model, const tmkd::Prediction& found) {
    if (arguments.as_json) {
        print_json(out, arguments, image, frame, model, found);
        return;
    }
    out << printable(image);
    if (frame >= 0) {
        out << " frame " << frame;
    }
    out << ": " << found.label << " (" << percent(found.confidence) << ")\n";
    for (const std::size_t label : found.top(arguments.top)) {
        out << "  " << std::setw(7) << percent(found.probabilities[label]) << "  "
            << model.class_names()[label] << '\n';
    }
}

void print_problem(std::ostream& out, std::ostream& errors, const Arguments& arguments,
                   const std::string& image, const tmkd::Error& error) {
    if (arguments.as_json) {
        out << "{\"image\": " << json(image)
            << ", \"error\": " << json(error.problem() + " " + error.advice()) << "}\n";
    } else {
        errors << "Error: The image " << printable(image) << " cannot be used. " << error.problem()
               << ' ' << error.advice() << '\n';
    }
}

void print(std::ostream& out, const Arguments& arguments, const tmkd::Verification& found) {
    const auto& pixels = found.largest_pixel_difference;
    if (arguments.as_json) {
        out << "{\"golden_images\": " << found.golden_images
            << ", \"largest_difference\": " << json(found.largest_difference)
            << ", \"tolerance\": " << json(found.tolerance)
            << ", \"largest_pixel_difference\": " << (pixels ? std::to_string(*pixels) : "null")
            << "}\n";
        return;
    }
    if (pixels) {
        out << "Images are resized here as in training; pixels of the built-in pictures differ by "
               "at most "
            << *pixels << ".\n";
    }
    out << "The " << found.golden_images
        << " golden images produce the recorded classes; their logits differ by at most "
        << found.largest_difference << ", and " << found.tolerance << " is allowed.\n";
}

}  // namespace programs
