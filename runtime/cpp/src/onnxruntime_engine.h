// ONNX Runtime on the CPU, through its C API.
#pragma once

#include <memory>

#include "engine.h"

namespace tmkd::internal {

/// Opens an ONNX engine, if it is safe to.
///
/// `threads` as in Options. Throws BundleError if the engine is unsafe, cannot be opened or does
/// not match the manifest, and RuntimeMissingError if the library is too old.
std::unique_ptr<Engine> open_onnxruntime(const Bundle& bundle, const Choice& choice, int threads);

/// Whether the fast INT8 arithmetic of this processor may saturate and must be avoided: an x86
/// processor without VNNI adds pairs of 8-bit products in 16 bits. So may one whose features are
/// unknown.
bool needs_precise_int8();

}  // namespace tmkd::internal
