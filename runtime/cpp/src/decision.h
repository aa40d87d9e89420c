// From logits to a class.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "manifest.h"

namespace tmkd::internal {

/// Softmax probabilities of at least one finite logit.
std::vector<double> probabilities(const std::vector<float>& logits);

/// The class with the highest logit; with a decision, its class if that class's probability reaches
/// the threshold, and otherwise the best of the others.
std::size_t decide(const std::vector<float>& logits, const std::vector<double>& probabilities,
                   const std::optional<Decision>& decision);

}  // namespace tmkd::internal
