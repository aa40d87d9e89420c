#include <algorithm>
#include <tuple>

#include "engine.h"
#include "installed_plan.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

/// Whether two releases are the same as far as both say: 10.3.0 and 10.3.0.30 are.
bool is_same_release(const std::string& one, const std::string& other) {
    const auto& [shorter, longer] =
        one.size() <= other.size() ? std::tie(one, other) : std::tie(other, one);
    return std::count(shorter.begin(), shorter.end(), '.') >= 2 &&
           (longer + '.').compare(0, shorter.size() + 1, shorter + '.') == 0;
}

/// Why the plan in the bundle does not run here, as a clause; empty if it does.
std::string why_not_here(const EngineEntry& engine, const NvidiaMachine& here) {
    if (!engine.made_for) {
        return "its plan does not say which TensorRT and GPU it was built for";
    }
    const MadeFor& made_for = *engine.made_for;
    if (!is_same_release(here.release, made_for.release)) {
        return "its plan runs on TensorRT " + made_for.release + " only, and this is " +
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

/// Fills in `choice`, or says why the engine cannot run, as a clause.
std::string try_plan(const Bundle& bundle, const EngineEntry& engine, const Machine& machine,
                     Choice& choice) {
    if (!machine.nvidia) {
        return machine.nvidia_problem;
    }
    const std::string reason = why_not_here(engine, *machine.nvidia);
    if (reason.empty()) {
        choice.content = bundle.members.at(engine.member);
        choice.dla_core = engine.made_for->dla_core;
        return {};
    }
    if (!engine.build) {
        return reason;
    }
    try {
        choice.installed = installed_plan(bundle, *engine.build, *machine.nvidia);
    } catch (const Unfit& error) {
        return reason + ", and " + error.what();
    }
    choice.content = choice.installed.view();
    choice.dla_core = engine.build->dla_core;
    return choice.content.size != 0 ? "" : reason + ", and none is installed for it";
}

std::string try_engine(const Bundle& bundle, const EngineEntry& engine, const Machine& machine,
                       Choice& choice) {
    choice.entry = &engine;
    if (engine.info.runtime == "tensorrt") {
        return try_plan(bundle, engine, machine, choice);
    }
    if (engine.info.runtime != "onnxruntime") {
        return "it needs the runtime " + quoted(engine.info.runtime) +
               ", which this library does not run";
    }
    choice.content = bundle.members.at(engine.member);
    return machine.has_onnxruntime ? "" : "this program was built without ONNX Runtime";
}

}  // namespace

Choice choose(const Bundle& bundle, const Machine& machine, const Failures& failures) {
    std::string reasons;
    bool can_be_built = false;
    for (const EngineEntry& engine : bundle.manifest.engines) {
        Choice choice;
        const auto failure = failures.find(&engine);
        const std::string reason = failure != failures.end()
                                       ? failure->second
                                       : try_engine(bundle, engine, machine, choice);
        if (reason.empty()) {
            return choice;
        }
        reasons += (reasons.empty() ? "" : "; ") + engine.info.target + ": " + reason;
        can_be_built = can_be_built || (engine.info.runtime == "tensorrt" && engine.build &&
                                        machine.nvidia.has_value());
    }
    throw RuntimeMissingError(
        "No engine of this bundle can run here (" + reasons + ").",
        can_be_built ? "Build it on this machine: tmkd-deploy bundle install " + bundle.path
                     : "Use the bundle of a target that runs here, such as 'cpu'.",
        bundle.path);
}

}  // namespace tmkd::internal
