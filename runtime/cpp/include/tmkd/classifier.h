// Load a bundle once, then classify images.
//
//     tmkd::Classifier model{"quickstart-cpu.tmkd"};
//     tmkd::Prediction found = model.predict(pixels, height, width);
//     std::cout << found.label << ' ' << found.confidence << '\n';
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tmkd/errors.h"

namespace tmkd {

enum class PixelFormat {
    rgb,   ///< 3 bytes per pixel
    bgr,   ///< 3 bytes per pixel, as OpenCV has them
    grey,  ///< 1 byte per pixel
};

/// Pixels in memory that the caller owns, rows from top to bottom, values from 0 to 255.
struct Image {
    const std::uint8_t* pixels = nullptr;
    std::size_t height = 0;
    std::size_t width = 0;
    PixelFormat format = PixelFormat::rgb;
    std::size_t stride = 0;  ///< bytes from one row to the next; 0 if rows follow without a gap
};

/// The classification of one image.
struct Prediction {
    std::string label;      ///< name of the predicted class
    std::size_t index = 0;  ///< its position in `Classifier::class_names()`
    /// Softmax probability of the predicted class, in [0, 1]; with a decision threshold, it is not
    /// always the highest.
    double confidence = 0;
    std::vector<double> probabilities;  ///< of all classes, in their order; they sum to 1
    std::vector<float> logits;          ///< raw outputs of the engine, in the same order

    /// The positions of the `count` most probable classes (all, if there are fewer), the most
    /// probable first.
    std::vector<std::size_t> top(std::size_t count) const;
};

struct Options {
    /// Threads of an engine on the CPU, from 1 to 256. 0 takes the number that the engine was
    /// measured with, but at most the number of cores available to this process.
    int threads = 0;
    /// Resize the built-in pictures, run the golden images, and compare the results. Hashes are
    /// always checked.
    bool verify = true;
};

/// An engine of a bundle, as its manifest describes it.
struct EngineInfo {
    std::string target;     ///< what it was built for, such as "cpu"
    std::string runtime;    ///< "onnxruntime" or "tensorrt"
    std::string precision;  ///< "fp32", "fp16" or "int8"
};

/// What verification found; all of it within the bundle's tolerances.
struct Verification {
    std::size_t golden_images = 0;
    float largest_difference = 0;  ///< of a golden image's logit
    float tolerance = 0;           ///< the largest that was allowed
    /// Largest difference of a resized pixel, at most 2; none for a bundle of format version 1,
    /// which has nothing to compare with.
    std::optional<int> largest_pixel_difference;
};

/// A loaded bundle. It can be moved but not copied. `predict` may be called from several threads
/// at once; ONNX Runtime then works in parallel, TensorRT takes turns.
class Classifier {
  public:
    /// Loads the bundle at `path`, with the first of its engines that this machine can run.
    ///
    /// Throws ArgumentError if an option is out of range; RuntimeMissingError if this machine, or
    /// this build of the library, can run none of the engines; BundleError if the bundle is
    /// missing, truncated, altered or unsafe, or computes different results on this machine.
    explicit Classifier(const std::string& path, const Options& options = {});
    ~Classifier();
    Classifier(Classifier&&) noexcept;
    Classifier& operator=(Classifier&&) noexcept;

    /// Classifies one image of any size; it is resized as the training images were.
    ///
    /// Throws ImageError if the image has no pixels, more than 67,108,864 (2^26), or one side more
    /// than 100 times the other; BundleError if the engine fails or returns logits that are not
    /// finite.
    Prediction predict(const Image& image) const;

    /// The same for RGB pixels, uint8 [height][width][3] without gaps.
    Prediction predict(const std::uint8_t* pixels, std::size_t height, std::size_t width) const;

    /// Names of the classes in the order of the logits, UTF-8 without control codes.
    const std::vector<std::string>& class_names() const noexcept;

    /// The engine that runs.
    const EngineInfo& engine() const noexcept;

    /// What verification found; none if `Options::verify` was false.
    const std::optional<Verification>& verification() const noexcept;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tmkd
