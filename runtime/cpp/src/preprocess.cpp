#include "preprocess.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "resize.h"

namespace tmkd::internal {
namespace {

constexpr std::uint8_t kPadding = 128;

/// The largest height and width of the image's shape that fit the input; whole numbers, rounded
/// half up.
std::pair<int, int> fitted(const Rgb& image, const Preprocessing& to) {
    const std::int64_t height = image.height, width = image.width;
    if (width * to.height >= height * to.width) {
        const auto rounded = (2 * height * to.width + width) / (2 * width);
        return {static_cast<int>(std::max<std::int64_t>(1, rounded)), to.width};
    }
    const auto rounded = (2 * width * to.height + height) / (2 * height);
    return {to.height, static_cast<int>(std::max<std::int64_t>(1, rounded))};
}

Box whole(const Rgb& image) {
    return {0, 0, static_cast<float>(image.width), static_cast<float>(image.height)};
}

/// The largest centred part of the input's shape, which need not end at whole pixels.
Box centre(const Rgb& image, const Preprocessing& to) {
    const double height = image.height, width = image.width;
    const double box_width = std::min(width, height * to.width / to.height);
    const double box_height = std::min(height, width * to.height / to.width);
    const double left = (width - box_width) / 2, top = (height - box_height) / 2;
    return {static_cast<float>(left), static_cast<float>(top), static_cast<float>(left + box_width),
            static_cast<float>(top + box_height)};
}

void reduce_to_luma(std::vector<std::uint8_t>& pixels) {
    for (std::size_t at = 0; at + 2 < pixels.size(); at += 3) {
        const unsigned luma =
            (19595U * pixels[at] + 38470U * pixels[at + 1] + 7471U * pixels[at + 2] + 32768U) >>
            16U;
        std::fill_n(pixels.begin() + static_cast<std::ptrdiff_t>(at), 3,
                    static_cast<std::uint8_t>(luma));
    }
}

}  // namespace

std::vector<std::uint8_t> Preprocessing::operator()(const Rgb& image) const {
    int inner_height = height, inner_width = width;
    if (resize == ResizeMode::letterbox) {
        std::tie(inner_height, inner_width) = fitted(image, *this);
    }
    const Box box = resize == ResizeMode::crop ? centre(image, *this) : whole(image);
    std::vector<std::uint8_t> resized = resized_bilinear(image, box, inner_height, inner_width);
    if (grayscale) {
        reduce_to_luma(resized);
    }
    if (inner_height == height && inner_width == width) {
        return resized;
    }
    const auto row = static_cast<std::size_t>(width) * 3;
    const auto inner_row = static_cast<std::size_t>(inner_width) * 3;
    const auto top = static_cast<std::size_t>((height - inner_height) / 2);
    const auto left = static_cast<std::size_t>((width - inner_width) / 2) * 3;
    std::vector<std::uint8_t> padded(static_cast<std::size_t>(height) * row, kPadding);
    for (std::size_t line = 0; line < static_cast<std::size_t>(inner_height); ++line) {
        std::memcpy(padded.data() + (top + line) * row + left, resized.data() + line * inner_row,
                    inner_row);
    }
    return padded;
}

}  // namespace tmkd::internal
