// Each output pixel is a weighted mean of the input pixels under a triangle around its centre. The
// triangle reaches one pixel to each side, or as many as one output pixel covers if the image
// becomes smaller. Both directions are done one after the other; in between, pixels are rounded to
// 8 bits, so the order shows in the last bit.
// Weights are computed in double precision and rounded to fixed point with 22 binary places, which
// leaves a 32-bit sum two bits for rounding beyond the 8 of a pixel.
//
// The compiler must not merge multiplications and additions (-ffp-contract=off), which would round
// differently.
#include "resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tmkd::internal {
namespace {

constexpr int kPlaces = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kPlaces - 1);
constexpr std::size_t kChannels = 3;

/// The input pixels behind one output pixel: `count` from `first` on.
struct Span {
    int first, count;
};

/// The weights along one axis; those of output pixel i start at i * `stride`.
struct Weights {
    std::vector<Span> spans;
    std::vector<std::int32_t> values;
    std::size_t stride = 0;
};

Weights weights_along(int in_size, float begin, float end, int out_size) {
    const double scale = static_cast<double>(end - begin) / out_size;
    const double reach = std::max(scale, 1.0);
    Weights weights;
    weights.stride = static_cast<std::size_t>(std::ceil(reach)) * 2 + 1;
    weights.values.assign(static_cast<std::size_t>(out_size) * weights.stride, 0);
    weights.spans.reserve(static_cast<std::size_t>(out_size));
    std::vector<double> exact(weights.stride);
    const double slope = 1.0 / reach;
    for (int at = 0; at < out_size; ++at) {
        const double centre = begin + (at + 0.5) * scale;
        const int first = std::max(static_cast<int>(centre - reach + 0.5), 0);
        const int last = std::min(static_cast<int>(centre + reach + 0.5), in_size);
        const int count = last - first;
        double sum = 0;
        for (int place = 0; place < count; ++place) {
            const double distance = std::fabs((place + first - centre + 0.5) * slope);
            const double weight = distance < 1.0 ? 1.0 - distance : 0.0;
            exact[static_cast<std::size_t>(place)] = weight;
            sum += weight;
        }
        std::int32_t* into = weights.values.data() + static_cast<std::size_t>(at) * weights.stride;
        for (int place = 0; place < count; ++place) {
            double weight = exact[static_cast<std::size_t>(place)];
            if (sum != 0.0) {
                weight /= sum;
            }
            into[place] = static_cast<std::int32_t>(0.5 + weight * (1 << kPlaces));
        }
        weights.spans.push_back({first, count});
    }
    return weights;
}

std::uint8_t rounded(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> kPlaces, 0, 255));
}

/// Whether rows are scaled before columns, as Pillow does from version 13 on where the image loses
/// more than twice as many rows as columns.
bool is_vertical_first(const Rgb& image, int height, int width) {
    return height < image.height && image.height - height > 2 * (image.width - width);
}

/// Scales the columns of `height` rows; [height][width of the weights][3].
std::vector<std::uint8_t> along_rows(const std::uint8_t* pixels, std::size_t height,
                                     std::size_t in_width, const Weights& weights) {
    std::vector<std::uint8_t> scaled(height * weights.spans.size() * kChannels);
    std::uint8_t* into = scaled.data();
    for (std::size_t row = 0; row < height; ++row) {
        const std::uint8_t* line = pixels + row * in_width * kChannels;
        const std::int32_t* values = weights.values.data();
        for (const Span& span : weights.spans) {
            std::int32_t red = kHalf, green = kHalf, blue = kHalf;
            const std::uint8_t* pixel = line + static_cast<std::size_t>(span.first) * kChannels;
            for (int place = 0; place < span.count; ++place, pixel += kChannels) {
                red += pixel[0] * values[place];
                green += pixel[1] * values[place];
                blue += pixel[2] * values[place];
            }
            *into++ = rounded(red);
            *into++ = rounded(green);
            *into++ = rounded(blue);
            values += weights.stride;
        }
    }
    return scaled;
}

/// Scales the rows; `first_row` is the number of the row at `pixels`.
std::vector<std::uint8_t> along_columns(const std::uint8_t* pixels, int first_row,
                                        std::size_t width, const Weights& weights) {
    const std::size_t row_bytes = width * kChannels;
    std::vector<std::uint8_t> scaled(weights.spans.size() * row_bytes);
    std::vector<std::int32_t> sums(row_bytes);
    std::uint8_t* into = scaled.data();
    const std::int32_t* values = weights.values.data();
    for (const Span& span : weights.spans) {
        std::fill(sums.begin(), sums.end(), kHalf);
        const std::uint8_t* line =
            pixels + static_cast<std::size_t>(span.first - first_row) * row_bytes;
        for (int place = 0; place < span.count; ++place, line += row_bytes) {
            const std::int32_t weight = values[place];
            for (std::size_t at = 0; at < row_bytes; ++at) {
                sums[at] += line[at] * weight;
            }
        }
        for (std::size_t at = 0; at < row_bytes; ++at) {
            *into++ = rounded(sums[at]);
        }
        values += weights.stride;
    }
    return scaled;
}

}  // namespace

std::vector<std::uint8_t> resized_bilinear(const Rgb& image, const Box& box, int height,
                                           int width) {
    const auto in_width = static_cast<std::size_t>(image.width);
    const auto in_height = static_cast<std::size_t>(image.height);
    const bool has_all_columns =
        width == image.width && box.left == 0 && box.right == static_cast<float>(width);
    const bool has_all_rows =
        height == image.height && box.top == 0 && box.bottom == static_cast<float>(height);
    if (has_all_columns && has_all_rows) {
        return {image.pixels, image.pixels + in_height * in_width * kChannels};
    }
    const Weights down = weights_along(image.height, box.top, box.bottom, height);
    if (has_all_columns) {
        return along_columns(image.pixels, 0, in_width, down);
    }
    const Weights across = weights_along(image.width, box.left, box.right, width);
    if (has_all_rows) {
        return along_rows(image.pixels, in_height, in_width, across);
    }
    if (is_vertical_first(image, height, width)) {
        const auto scaled = along_columns(image.pixels, 0, in_width, down);
        return along_rows(scaled.data(), static_cast<std::size_t>(height), in_width, across);
    }
    // only rows that the second pass needs are scaled
    const int first_row = down.spans.front().first;
    const int end_row = down.spans.back().first + down.spans.back().count;
    const auto scaled =
        along_rows(image.pixels + static_cast<std::size_t>(first_row) * in_width * kChannels,
                   static_cast<std::size_t>(end_row - first_row), in_width, across);
    return along_columns(scaled.data(), first_row, static_cast<std::size_t>(width), down);
}

}  // namespace tmkd::internal
