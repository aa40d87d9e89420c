#include "command_line.h"

namespace programs {
namespace {

std::size_t whole_number(const std::string& text, std::size_t most, const std::string& option) {
    const bool is_number = !text.empty() && text.size() <= 9 &&
                           text.find_first_not_of("0123456789") == std::string::npos;
    const std::size_t value = is_number ? std::stoul(text) : 0;
    if (value == 0 || value > most) {
        throw UsageError(option + " takes a whole number from 1 to " + std::to_string(most) + ".");
    }
    return value;
}

FrameSize frame_size(const std::string& text) {
    const std::size_t cross = text.find('x');
    if (cross == std::string::npos) {
        throw UsageError("--frame takes WIDTHxHEIGHT, such as 640x480.");
    }
    return {whole_number(text.substr(0, cross), 65536, "--frame"),
            whole_number(text.substr(cross + 1), 65536, "--frame")};
}

}  // namespace

const char* const kHelp = R"(Usage: tmkd-classify BUNDLE [IMAGE...] [OPTIONS]

Classify images with a bundle. An IMAGE is a binary PPM or PGM file, or - for standard input. One
that cannot be used is named, and the others are classified; the exit code is then 5.

  --frame WIDTHxHEIGHT  each IMAGE is a sequence of raw RGB frames of this size, 3 bytes per pixel
  --top N               also list the N most probable classes
  --threads N           threads of an engine on the CPU, at most 256; the measured number by default
  --verify              first run the golden images and compare the results
  --json                print one JSON object per line and image
  --help                print this
)";

Arguments parse_arguments(const std::vector<std::string>& words) {
    Arguments arguments;
    std::vector<std::string> names;
    bool only_names = false;  // behind --
    for (std::size_t at = 0; at < words.size(); ++at) {
        const std::string& word = words[at];
        const auto value = [&]() -> const std::string& {
            if (at + 1 == words.size()) {
                throw UsageError(word + " takes a value.");
            }
            return words[++at];
        };
        if (only_names || word.size() < 2 || word[0] != '-') {
            names.push_back(word);
        } else if (word == "--") {
            only_names = true;
        } else if (word == "--frame") {
            arguments.frame = frame_size(value());
        } else if (word == "--top") {
            arguments.top = whole_number(value(), 1000000, "--top");
        } else if (word == "--threads") {
            arguments.threads = static_cast<int>(whole_number(value(), 256, "--threads"));
        } else if (word == "--json") {
            arguments.as_json = true;
        } else if (word == "--verify") {
            arguments.verify = true;
        } else if (word == "--help" || word == "-h") {
            arguments.help = true;
        } else {
            throw UsageError("There is no option " + word + ".");
        }
    }
    if (arguments.help) {
        return arguments;
    }
    if (names.empty() || (names.size() == 1 && !arguments.verify)) {
        throw UsageError(names.empty() ? "A bundle is missing." : "An image is missing.");
    }
    arguments.bundle = names.front();
    arguments.images.assign(names.begin() + 1, names.end());
    return arguments;
}

}  // namespace programs
