#include <algorithm>

#include "engine.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

/// Whether a release such as 10.3.0.30 is the one asked for, which may lack the build number.
bool is_release(const std::string& release, const std::string& wanted) {
    const bool is_whole = std::count(wanted.begin(), wanted.end(), '.') >= 2;
    return is_whole && (release + '.').compare(0, wanted.size() + 1, wanted + '.') == 0;
}

std::string why_no_plan(const EngineEntry& engine, const Machine& machine) {
    if (!machine.nvidia) {
        return machine.nvidia_problem;
    }
    if (!engine.made_for) {
        return "its plan does not say which TensorRT and GPU it was built for";
    }
    const MadeFor& made_for = *engine.made_for;
    const NvidiaMachine& here = *machine.nvidia;
    if (!is_release(here.release, made_for.release)) {
        return "its plan runs on TensorRT " + quoted(made_for.release) + " only, and this is " +
               here.release;
    }
    if (here.compute_capability != made_for.compute_capability) {
        return "its plan runs on GPUs of compute capability " +
               std::to_string(made_for.compute_capability) + " only, and this one has " +
               std::to_string(here.compute_capability);
    }
    if (made_for.dla_core && *made_for.dla_core >= here.dla_cores) {
        return "its plan runs on DLA core " + std::to_string(*made_for.dla_core) +
               ", which this machine does not have";
    }
    return {};
}

}  // namespace

std::string why_not(const EngineEntry& engine, const Machine& machine) {
    if (engine.info.runtime == "onnxruntime") {
        return machine.has_onnxruntime ? "" : "this program was built without ONNX Runtime";
    }
    if (engine.info.runtime == "tensorrt") {
        return why_no_plan(engine, machine);
    }
    return "it needs the runtime " + quoted(engine.info.runtime) +
           ", which this library does not run";
}

const EngineEntry& choose(const Bundle& bundle, const Machine& machine) {
    std::string reasons;
    bool can_be_built = false;
    for (const EngineEntry& engine : bundle.manifest.engines) {
        const std::string reason = why_not(engine, machine);
        if (reason.empty()) {
            return engine;
        }
        reasons += (reasons.empty() ? "" : "; ") + engine.info.target + ": " + reason;
        can_be_built = can_be_built || (engine.can_be_built && machine.nvidia);
    }
    throw RuntimeMissingError("No engine of this bundle can run here (" + reasons + ").",
                              can_be_built
                                  ? "Build its plan for this machine with: tmkd-deploy bundle "
                                    "install FILE"
                                  : "Use the bundle of a target that runs here, such as 'cpu'.",
                              bundle.path);
}

}  // namespace tmkd::internal
