#include "tmkd/classifier.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "bundle.h"
#include "decision.h"
#include "engine.h"
#include "golden.h"
#ifdef TMKD_WITH_ONNXRUNTIME
#include "onnxruntime_engine.h"
#endif
#ifdef TMKD_WITH_TENSORRT
#include "tensorrt_engine.h"
#endif

namespace tmkd {
namespace {

using internal::Bundle;
using internal::EngineEntry;

constexpr std::size_t kMostPixels = std::size_t{1} << 26U;
constexpr std::size_t kLongestSides = 100;  // the weights of resizing grow with the longer side
constexpr int kMostThreads = 256;

internal::Machine machine_for(const Bundle& bundle) {
    internal::Machine machine;
#ifdef TMKD_WITH_ONNXRUNTIME
    machine.has_onnxruntime = true;
#endif
#ifdef TMKD_WITH_TENSORRT
    // only if it is needed, because it wakes the GPU up
    const auto& engines = bundle.manifest.engines;
    if (std::any_of(engines.begin(), engines.end(),
                    [](const EngineEntry& engine) { return engine.info.runtime == "tensorrt"; })) {
        machine.nvidia = internal::nvidia_machine(machine.nvidia_problem);
    }
#else
    static_cast<void>(bundle);
    machine.nvidia_problem = "this program was built without TensorRT";
#endif
    return machine;
}

std::unique_ptr<internal::Engine> open(const Bundle& bundle, const internal::Choice& choice,
                                       int threads) {
#ifdef TMKD_WITH_TENSORRT
    if (choice.entry->info.runtime == "tensorrt") {
        return internal::open_tensorrt(bundle, choice);
    }
#endif
#ifdef TMKD_WITH_ONNXRUNTIME
    return internal::open_onnxruntime(bundle, choice, threads);
#else
    static_cast<void>(threads);
    throw RuntimeMissingError("This program was built without ONNX Runtime.", "", bundle.path);
#endif
}

void check(const Image& image) {
    const std::string size = std::to_string(image.width) + " x " + std::to_string(image.height);
    if (image.pixels == nullptr || image.height == 0 || image.width == 0) {
        throw ImageError("The image has no pixels.", "Pass at least one pixel.");
    }
    if (image.height > kMostPixels / image.width) {
        throw ImageError("The image has " + size + " pixels, more than the allowed 67,108,864.",
                         "Pass a smaller one.");
    }
    if (image.height > kLongestSides * image.width || image.width > kLongestSides * image.height) {
        throw ImageError(
            "The image has " + size + " pixels; one side may be at most 100 times the other.",
            "Pass a part of it.");
    }
    const std::size_t row = image.width * (image.format == PixelFormat::grey ? 1 : 3);
    if (image.stride != 0 && image.stride < row) {
        throw ImageError("The image's rows overlap: its stride is " + std::to_string(image.stride) +
                             " bytes, and a row takes " + std::to_string(row) + ".",
                         "Pass the number of bytes from one row to the next, or 0.");
    }
}

/// The image's pixels as RGB without gaps.
std::vector<std::uint8_t> packed(const Image& image) {
    const std::size_t channels = image.format == PixelFormat::grey ? 1 : 3;
    const std::size_t stride = image.stride != 0 ? image.stride : image.width * channels;
    // where in a pixel red, green and blue are
    const std::size_t green = channels == 3 ? 1 : 0;
    const std::size_t red = image.format == PixelFormat::bgr ? 2 : 0;
    const std::size_t blue = image.format == PixelFormat::rgb ? 2 : 0;
    std::vector<std::uint8_t> rgb(image.height * image.width * 3);
    std::uint8_t* into = rgb.data();
    for (std::size_t row = 0; row < image.height; ++row) {
        const std::uint8_t* pixel = image.pixels + row * stride;
        for (std::size_t column = 0; column < image.width; ++column, pixel += channels) {
            *into++ = pixel[red];
            *into++ = pixel[green];
            *into++ = pixel[blue];
        }
    }
    return rgb;
}

}  // namespace

struct Classifier::State {
    std::vector<std::string> class_names;
    internal::Preprocessing preprocess;
    EngineEntry entry;
    std::unique_ptr<internal::Engine> engine;
    std::optional<Verification> verification;
};

Classifier::Classifier(const std::string& path, const Options& options)
    : state_(std::make_unique<State>()) {
    if (options.threads < 0 || options.threads > kMostThreads) {
        throw ArgumentError("The number of threads is " + std::to_string(options.threads) + ".",
                            "Pass a number from 1 to 256, or 0 for the measured number.");
    }
    const Bundle bundle = internal::read_bundle(path);
    state_->class_names = bundle.manifest.class_names;
    state_->preprocess = bundle.manifest.preprocessing;
    const internal::Machine machine = machine_for(bundle);
    internal::Failures failures;
    while (!state_->engine) {
        const internal::Choice choice = internal::choose(bundle, machine, failures);
        state_->entry = *choice.entry;
        try {
            state_->engine = open(bundle, choice, options.threads);
        } catch (const RuntimeMissingError& error) {
            failures[choice.entry] = error.problem();
        }
    }
    if (options.verify) {
        state_->verification = internal::verify(bundle, state_->entry, *state_->engine);
    }
}

Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;

Prediction Classifier::predict(const Image& image) const {
    check(image);
    const bool is_packed =
        image.format == PixelFormat::rgb && (image.stride == 0 || image.stride == image.width * 3);
    const std::vector<std::uint8_t> copy = is_packed ? std::vector<std::uint8_t>() : packed(image);
    const std::vector<std::uint8_t> input =
        state_->preprocess({is_packed ? image.pixels : copy.data(), static_cast<int>(image.height),
                            static_cast<int>(image.width)});
    Prediction found;
    found.logits = state_->engine->logits(input);
    found.probabilities = internal::probabilities(found.logits);
    found.index = internal::decide(found.logits, found.probabilities, state_->entry.decision);
    found.label = state_->class_names[found.index];
    found.confidence = found.probabilities[found.index];
    return found;
}

Prediction Classifier::predict(const std::uint8_t* pixels, std::size_t height,
                               std::size_t width) const {
    Image image;
    image.pixels = pixels;
    image.height = height;
    image.width = width;
    return predict(image);
}

const std::vector<std::string>& Classifier::class_names() const noexcept {
    return state_->class_names;
}

const EngineInfo& Classifier::engine() const noexcept {
    return state_->entry.info;
}

const std::optional<Verification>& Classifier::verification() const noexcept {
    return state_->verification;
}

std::vector<std::size_t> Prediction::top(std::size_t count) const {
    std::vector<std::size_t> order(probabilities.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t taken = std::min(count, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(taken),
                      order.end(), [&](std::size_t left, std::size_t right) {
                          return probabilities[left] != probabilities[right]
                                     ? probabilities[left] > probabilities[right]
                                     : left < right;
                      });
    order.resize(taken);
    return order;
}

}  // namespace tmkd
