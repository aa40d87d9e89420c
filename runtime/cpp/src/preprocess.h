// From pixels of any size to the engine's input: the same as in training.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tmkd::internal {

enum class ResizeMode { squash, letterbox, crop };

/// RGB pixels, uint8 [height][width][3]; a view.
struct Rgb {
    const std::uint8_t* pixels;
    int height, width;
};

/// How images become inputs of `height` x `width` pixels: `squash` scales both sides on their own;
/// `letterbox` keeps the whole image and its shape between bars of mid-grey; `crop` fills the input
/// with the centre of the image. With `grayscale`, all channels are the luma of ITU-R BT.601.
struct Preprocessing {
    int height = 0, width = 0;
    ResizeMode resize = ResizeMode::squash;
    bool grayscale = false;

    /// uint8 [height][width][3].
    std::vector<std::uint8_t> operator()(const Rgb& image) const;
};

}  // namespace tmkd::internal
