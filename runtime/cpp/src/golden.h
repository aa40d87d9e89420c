// The golden images: a few inputs with the logits that the measured engine produced.
#pragma once

#include "bundle.h"
#include "engine.h"
#include "tmkd/classifier.h"

namespace tmkd::internal {

/// Resizes the built-in pictures, runs the golden images, and compares the results.
///
/// Throws BundleError if a pixel, a logit or a class differs by more than is allowed, or the arrays
/// have other shapes or types.
Verification verify(const Bundle& bundle, const EngineEntry& entry, Engine& engine);

}  // namespace tmkd::internal
