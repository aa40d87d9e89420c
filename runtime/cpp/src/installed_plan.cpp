// Names and files are those of `tmkd_deploy/runtime/installed_engines.py`.
#include "installed_plan.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>

#include "fields.h"
#include "json.h"
#include "sha256.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

constexpr std::uint64_t kLargestPlan = 2ULL << 30U, kLargestRecord = 1U << 20U;

std::string folder() {
    if (const char* named = std::getenv("TMKD_DEPLOY_ENGINES"); named != nullptr && *named != 0) {
        return named;
    }
    const char* home = std::getenv("HOME");
    return home == nullptr ? "" : std::string(home) + "/.cache/tmkd-deploy/engines";
}

/// Refuses a folder in which others could put something of theirs.
void require_own(const std::string& path) {
    struct stat state{};
    if (lstat(path.c_str(), &state) != 0) {
        return;  // there is none, and so no plan
    }
    const bool is_own =
        S_ISDIR(state.st_mode) && state.st_uid == geteuid() && (state.st_mode & 022U) == 0;
    char* real = realpath(path.c_str(), nullptr);
    std::string above = real == nullptr ? "" : real;
    std::free(real);
    bool is_safe = is_own && !above.empty();
    while (is_safe && above.size() > 1) {
        above.resize(above.rfind('/') == 0 ? 1 : above.rfind('/'));
        const bool is_known = stat(above.c_str(), &state) == 0;
        is_safe = is_known && ((state.st_mode & 02U) == 0 || (state.st_mode & S_ISVTX) != 0);
    }
    if (!is_safe) {
        throw Unfit("the folder of installed engines, " + quoted(path) +
                    ", may be written by others, so no engine in it is used");
    }
}

std::string json(const std::optional<int>& number) {
    return number ? std::to_string(*number) : "null";
}

/// The name of a plan: a hash over all that decides what a build makes. The texts are known to need
/// no escapes.
std::string name_of(const std::string& onnx_sha256, const BuildRecipe& recipe,
                    const std::string& release, int compute_capability) {
    const std::string text = "{\"compute_capability\":" + std::to_string(compute_capability) +
                             ",\"dla_core\":" + json(recipe.dla_core) + ",\"onnx_sha256\":\"" +
                             onnx_sha256 + "\",\"precision\":\"" + recipe.precision +
                             "\",\"release\":\"" + release +
                             "\",\"runtime\":\"tensorrt\",\"typing\":\"" + recipe.typing +
                             "\",\"workspace_mb\":" + json(recipe.workspace_mb) + "}";
    return sha256({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

/// The plan at `path`.plan, if it is the one of which `path`.json tells.
FileContent intact(const std::string& path) {
    try {
        FileContent plan = read_regular(path + ".plan", kLargestPlan, Owner::this_user);
        const FileContent record = read_regular(path + ".json", kLargestRecord, Owner::this_user);
        if (take<std::string>(parse_object(record.view()), "sha256") == sha256(plan.view())) {
            return plan;
        }
    } catch (const Unfit&) {
    } catch (const std::system_error&) {
    }
    return {};
}

}  // namespace

FileContent installed_plan(const Bundle& bundle, const BuildRecipe& recipe,
                           const NvidiaMachine& machine) {
    const std::string root = folder();
    if (root.empty()) {
        return {};
    }
    require_own(root);
    const std::string& onnx = bundle.manifest.files.at(recipe.onnx).sha256;
    // TensorRT's Python module names its release with or without the build number
    for (const std::string& release :
         {machine.release, machine.release.substr(0, machine.release.rfind('.'))}) {
        const std::string name = name_of(onnx, recipe, release, machine.compute_capability);
        FileContent plan = intact(root + "/" + name);
        if (plan.size != 0) {
            return plan;
        }
    }
    return {};
}

}  // namespace tmkd::internal
