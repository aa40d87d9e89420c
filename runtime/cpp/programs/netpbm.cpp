// Source: https://netpbm.sourceforge.net/doc/ppm.html
#include "netpbm.h"

#include <algorithm>

namespace programs {
namespace {

constexpr std::size_t kMostPixels = std::size_t{1} << 26U;
constexpr std::size_t kChunk = std::size_t{1} << 20U;

[[noreturn]] void refuse(const char* problem) {
    throw tmkd::ImageError(problem,
                           "Pass a binary PPM (P6) or PGM (P5) image with 8 bits per value.");
}

/// The next number of the header; white space and comments come before it.
std::size_t number(std::istream& stream) {
    int sign = stream.get();
    while (sign == '#' || sign == ' ' || (sign >= '\t' && sign <= '\r')) {
        while (sign == '#' && stream && stream.peek() != '\n' && stream.peek() != '\r') {
            stream.get();
        }
        sign = stream.get();
    }
    std::size_t value = 0;
    int digits = 0;
    for (; sign >= '0' && sign <= '9' && digits < 9; ++digits, sign = stream.get()) {
        value = value * 10 + static_cast<std::size_t>(sign - '0');
    }
    // exactly one white space follows the last number
    if (digits == 0 || !(sign == ' ' || (sign >= '\t' && sign <= '\r'))) {
        refuse("It is not a PPM or PGM image: its header is damaged.");
    }
    return value;
}

/// Reads up to `count` bytes; memory grows with what is there, whatever a header claims.
std::vector<std::uint8_t> read_bytes(std::istream& stream, std::size_t count) {
    std::vector<std::uint8_t> bytes;
    while (bytes.size() < count) {
        const std::size_t before = bytes.size(), wanted = std::min(kChunk, count - before);
        bytes.resize(before + wanted);
        stream.read(reinterpret_cast<char*>(bytes.data() + before),
                    static_cast<std::streamsize>(wanted));
        const auto got = static_cast<std::size_t>(stream.gcount());
        if (got < wanted) {
            bytes.resize(before + got);
            break;
        }
    }
    return bytes;
}

}  // namespace

Pixels read_netpbm(std::istream& stream) {
    const int mark = stream.get(), kind = stream.get();
    if (mark != 'P' || (kind != '5' && kind != '6')) {
        refuse("It is not a binary PPM or PGM image.");
    }
    Pixels image;
    image.format = kind == '6' ? tmkd::PixelFormat::rgb : tmkd::PixelFormat::grey;
    image.width = number(stream);
    image.height = number(stream);
    if (number(stream) != 255) {
        refuse("Its highest value is not 255.");
    }
    if (image.width == 0 || image.height == 0) {
        refuse("It has no pixels.");
    }
    if (image.height > kMostPixels / image.width) {
        refuse("It has more than the allowed 67,108,864 pixels.");
    }
    const std::size_t size = image.width * image.height * (kind == '6' ? 3 : 1);
    image.bytes = read_bytes(stream, size);
    if (image.bytes.size() < size) {
        refuse("It is damaged: its pixels end early.");
    }
    return image;
}

bool read_frame(std::istream& stream, Pixels& frame) {
    const std::size_t size = frame.width * frame.height * 3;
    frame.bytes.resize(size);
    stream.read(reinterpret_cast<char*>(frame.bytes.data()), static_cast<std::streamsize>(size));
    const auto got = static_cast<std::size_t>(stream.gcount());
    if (got != 0 && got != size) {
        throw tmkd::ImageError("The last frame has " + std::to_string(got) + " bytes instead of " +
                                   std::to_string(size) + ".",
                               "Pass the size of the frames as --frame WIDTHxHEIGHT.");
    }
    return got == size;
}

}  // namespace programs
