#include "golden.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "decision.h"
#include "npy.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

constexpr std::uint64_t kMostGoldenImages = 1024;
constexpr int kPixelTolerance = 2;  // processors may round a weight differently

struct Size {
    int height, width;
};
constexpr std::array<Size, 2> kPictures = {{{97, 301}, {301, 97}}};  // one wide, one tall

/// A picture with smooth areas and sharp edges in every channel, the same everywhere.
std::vector<std::uint8_t> picture(const Size& size) {
    std::vector<std::uint8_t> pixels;
    pixels.reserve(static_cast<std::size_t>(size.height * size.width * 3));
    for (int row = 0; row < size.height; ++row) {
        for (int column = 0; column < size.width; ++column) {
            for (int channel = 0; channel < 3; ++channel) {
                pixels.push_back(
                    static_cast<std::uint8_t>((row * row / 16 + 3 * column + 80 * channel) % 256));
            }
        }
    }
    return pixels;
}

int check_preprocessing(const Bundle& bundle) {
    const Preprocessing& to = bundle.manifest.preprocessing;
    Array expected;
    try {
        expected = read_npy(bundle.members.at(bundle.manifest.golden_preprocessed), "|u1");
    } catch (const std::invalid_argument&) {
        throw broken(bundle.path, "its preprocessed pictures are no numpy array");
    }
    const std::vector<std::uint64_t> shape = {kPictures.size(),
                                              static_cast<std::uint64_t>(to.height),
                                              static_cast<std::uint64_t>(to.width), 3};
    if (expected.shape != shape) {
        throw broken(bundle.path, "its preprocessed pictures do not match its manifest");
    }
    int largest = 0;
    const std::uint8_t* was = expected.data.data;
    for (const Size& size : kPictures) {
        const std::vector<std::uint8_t> pixels = picture(size);
        for (const std::uint8_t is_now : to({pixels.data(), size.height, size.width})) {
            largest = std::max(largest, std::abs(is_now - *was++));
        }
    }
    if (largest > kPixelTolerance) {
        throw BundleError(
            "Images are resized differently here: a pixel of a built-in picture "
            "differs by " +
                std::to_string(largest) + " of 255, but only 2 is allowed.",
            "Make the bundle again.", bundle.path);
    }
    return largest;
}

BundleError disagrees(const Bundle& bundle, const std::string& what) {
    return BundleError("The engine computes different results on this machine: " + what + ".",
                       "Do not use it on this machine. Install the runtime version it was measured "
                       "with, or build and measure a bundle on this kind of machine.",
                       bundle.path);
}

std::string shortened(double value) {
    std::ostringstream text;
    text.precision(4);
    text << value;
    return text.str();
}

/// The golden images and logits; as many of the one as of the other, and all logits finite.
struct Golden {
    std::size_t count = 0;
    Bytes images;
    std::vector<float> logits;
};

Golden golden_of(const Bundle& bundle, const EngineEntry& entry) {
    const Manifest& manifest = bundle.manifest;
    Array images, logits;
    try {
        images = read_npy(bundle.members.at(entry.golden_inputs), "|u1");
        logits = read_npy(bundle.members.at(entry.golden_outputs), "<f4");
    } catch (const std::invalid_argument&) {
        throw broken(bundle.path, "its golden images are not numpy arrays");
    }
    const std::uint64_t count = images.shape.front();
    const std::vector<std::uint64_t> image_shape = {
        count, static_cast<std::uint64_t>(manifest.preprocessing.height),
        static_cast<std::uint64_t>(manifest.preprocessing.width), 3};
    const std::vector<std::uint64_t> logit_shape = {count, manifest.class_names.size()};
    Golden golden{static_cast<std::size_t>(count), images.data,
                  std::vector<float>(logits.data.size / sizeof(float))};
    std::memcpy(golden.logits.data(), logits.data.data, golden.logits.size() * sizeof(float));
    const bool fits = count <= kMostGoldenImages && images.shape == image_shape &&
                      logits.shape == logit_shape &&
                      (!entry.decision || entry.golden_classes.size() == count) &&
                      std::all_of(golden.logits.begin(), golden.logits.end(),
                                  [](float one) { return std::isfinite(one); });
    if (!fits) {
        throw broken(bundle.path, "its golden images and logits do not match its manifest");
    }
    return golden;
}

}  // namespace

Verification verify(const Bundle& bundle, const EngineEntry& entry, Engine& engine) {
    Verification found;
    if (!bundle.manifest.golden_preprocessed.empty()) {
        found.largest_pixel_difference = check_preprocessing(bundle);
    }
    const Golden golden = golden_of(bundle, entry);
    const std::size_t image_bytes = golden.images.size / golden.count;
    const std::size_t classes = bundle.manifest.class_names.size();
    found.golden_images = golden.count;
    found.tolerance = static_cast<float>(entry.tolerance);
    std::vector<std::size_t> is_now, was;
    for (std::size_t index = 0; index < golden.count; ++index) {
        const std::uint8_t* pixels = golden.images.data + index * image_bytes;
        const auto first = golden.logits.begin() + static_cast<std::ptrdiff_t>(index * classes);
        const std::vector<float> expected(first, first + static_cast<std::ptrdiff_t>(classes));
        const std::vector<float> logits = engine.logits({pixels, pixels + image_bytes});
        for (std::size_t label = 0; label < classes; ++label) {
            const float difference = std::fabs(logits[label] - expected[label]);
            found.largest_difference = std::max(found.largest_difference, difference);
        }
        is_now.push_back(decide(logits, probabilities(logits), entry.decision));
        was.push_back(entry.decision ? entry.golden_classes[index]
                                     : decide(expected, {}, std::nullopt));
    }
    if (static_cast<double>(found.largest_difference) > entry.tolerance) {
        throw disagrees(bundle, "a golden image's logit differs by " +
                                    shortened(found.largest_difference) + ", but only " +
                                    shortened(entry.tolerance) + " is allowed");
    }
    const auto [now_at, was_at] = std::mismatch(is_now.begin(), is_now.end(), was.begin());
    if (now_at != is_now.end()) {
        const auto& names = bundle.manifest.class_names;
        throw disagrees(bundle, "golden image " + std::to_string(now_at - is_now.begin()) +
                                    " is now '" + names[*now_at] + "' instead of '" +
                                    names[*was_at] + "'");
    }
    return found;
}

}  // namespace tmkd::internal
