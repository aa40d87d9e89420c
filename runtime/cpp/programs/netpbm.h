// Images that need no decoder: binary PPM (P6) and PGM (P5), and raw RGB frames.
#pragma once

#include <cstdint>
#include <istream>
#include <vector>

#include "tmkd/classifier.h"

namespace programs {

/// Pixels with their memory.
struct Pixels {
    std::vector<std::uint8_t> bytes;
    std::size_t height = 0, width = 0;
    tmkd::PixelFormat format = tmkd::PixelFormat::rgb;

    tmkd::Image view() const { return {bytes.data(), height, width, format, 0}; }
};

/// Reads one PPM or PGM image with values up to 255.
///
/// Throws tmkd::ImageError if it is anything else, larger than 67,108,864 pixels, or cut short.
Pixels read_netpbm(std::istream& stream);

/// Reads the next frame of 3 * width * height bytes into `frame`; false at the end of the stream.
///
/// Throws tmkd::ImageError if the stream ends within a frame.
bool read_frame(std::istream& stream, Pixels& frame);

}  // namespace programs
