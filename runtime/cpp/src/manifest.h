// A bundle's `manifest.json`, parsed as untrusted input; format versions 1, 2 and 3.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bytes.h"
#include "preprocess.h"
#include "tmkd/classifier.h"

namespace tmkd::internal {

constexpr const char* kManifest = "manifest.json";

struct FileEntry {
    std::int64_t bytes = 0;
    std::string sha256;
};

/// The machine that a TensorRT plan was built for; it runs nowhere else.
struct MadeFor {
    std::string release;         // of TensorRT, such as "10.3.0.30"
    int compute_capability = 0;  // of the GPU, such as 87
    std::optional<int> dla_core;
};

/// What it takes to build an engine on another machine.
struct BuildRecipe {
    std::string onnx;  // a member
    std::string precision, typing;
    std::optional<int> workspace_mb, dla_core;
};

/// A class with a threshold of its own.
struct Decision {
    std::size_t label = 0;
    double threshold = 0;
};

struct EngineEntry {
    EngineInfo info;
    std::string member;
    std::string golden_inputs, golden_outputs;
    double tolerance = 0;
    std::optional<Decision> decision;
    std::vector<std::size_t> golden_classes;  // one per golden image; only with a decision
    std::optional<int> threads;               // that it was timed with
    std::optional<MadeFor> made_for;
    std::optional<BuildRecipe> build;
};

struct Manifest {
    std::vector<std::string> class_names;
    Preprocessing preprocessing;
    std::string golden_preprocessed;   // a member; empty in version 1
    std::vector<EngineEntry> engines;  // in order of preference
    std::map<std::string, FileEntry> files;
};

/// Parses a manifest.
///
/// Throws Unfit if it is not a valid manifest of a version that this library reads.
Manifest parse_manifest(Bytes text);

}  // namespace tmkd::internal
