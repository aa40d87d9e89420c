// Bilinear resizing with anti-aliasing, bit for bit as Pillow 13 computes it.
#pragma once

#include <vector>

#include "preprocess.h"

namespace tmkd::internal {

/// A part of an image in pixels, which need not end at whole ones. In single precision, as Pillow
/// passes it on.
struct Box {
    float left, top, right, bottom;
};

/// The `box` of the image, scaled to uint8 [height][width][3].
std::vector<std::uint8_t> resized_bilinear(const Rgb& image, const Box& box, int height, int width);

}  // namespace tmkd::internal
