// An engine that maps raw pixels to logits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"

namespace tmkd::internal {

/// Safe to share between threads.
class Engine {
  public:
    Engine() = default;
    virtual ~Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// Raw RGB pixels, uint8 [height][width][3], to one finite logit per class.
    ///
    /// Throws BundleError if the engine fails, or returns something else.
    virtual std::vector<float> logits(const std::vector<std::uint8_t>& pixels) = 0;
};

/// This machine's TensorRT and its first GPU.
struct NvidiaMachine {
    std::string release;  // of TensorRT, such as "10.3.0.30"
    int compute_capability = 0;
    int dla_cores = 0;
};

/// What this build of the library, on this machine, can run.
struct Machine {
    bool has_onnxruntime = false;
    std::optional<NvidiaMachine> nvidia;
    std::string nvidia_problem;  // why there is none, as a clause
};

/// An engine of a bundle that this machine can run.
struct Choice {
    const EngineEntry* entry = nullptr;
    FileContent installed;  // the plan that was built on this machine, if that is what runs
    Bytes content;          // of the engine or the plan
    std::optional<int> dla_core;
};

/// Engines that could not be opened after all, and why, as a clause.
using Failures = std::map<const EngineEntry*, std::string>;

/// The first engine that this machine can run.
///
/// Throws RuntimeMissingError if there is none.
Choice choose(const Bundle& bundle, const Machine& machine, const Failures& failures = {});

}  // namespace tmkd::internal
