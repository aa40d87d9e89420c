#include "decision.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tmkd::internal {
namespace {

std::size_t highest(const std::vector<float>& logits) {
    return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) -
                                    logits.begin());
}

}  // namespace

std::vector<double> probabilities(const std::vector<float>& logits) {
    const double most = *std::max_element(logits.begin(), logits.end());
    std::vector<double> shares;
    shares.reserve(logits.size());
    double sum = 0;
    for (const float logit : logits) {
        shares.push_back(std::exp(static_cast<double>(logit) - most));
        sum += shares.back();
    }
    for (double& share : shares) {
        share /= sum;
    }
    return shares;
}

std::size_t decide(const std::vector<float>& logits, const std::vector<double>& probabilities,
                   const std::optional<Decision>& decision) {
    if (!decision) {
        return highest(logits);
    }
    if (probabilities[decision->label] >= decision->threshold) {
        return decision->label;
    }
    std::vector<float> others = logits;
    others[decision->label] = -std::numeric_limits<float>::infinity();
    return highest(others);
}

}  // namespace tmkd::internal
