// TensorRT plans on the first NVIDIA GPU; TensorRT 8.5 and newer. Compiled against 8.6, 10.3 and
// 11.1; never run on a GPU so far.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine.h"

namespace tmkd::internal {

/// This machine's TensorRT and GPU; if there is none, `problem` says why, as a clause.
std::optional<NvidiaMachine> nvidia_machine(std::string& problem);

/// Loads a plan that was built for this machine, as `choose` found it.
///
/// Throws RuntimeMissingError if TensorRT rejects the plan or it does not fit into memory, and
/// BundleError if its input and output do not match the manifest.
std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Choice& choice);

}  // namespace tmkd::internal
