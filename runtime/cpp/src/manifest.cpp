#include "manifest.h"

#include <algorithm>
#include <limits>
#include <set>

#include "fields.h"
#include "json.h"
#include "unfit.h"
#include "zip.h"

namespace tmkd::internal {
namespace {

constexpr std::size_t kMostEngines = 16;
constexpr int kLargestSide = 8192, kMostDlaCores = 16;
constexpr int kAny = std::numeric_limits<int>::max();

bool is(const Json::Object& object, const std::string& key, const std::string& expected) {
    const Json* value = find(object, key);
    return value != nullptr && value->as<std::string>() != nullptr &&
           *value->as<std::string>() == expected;
}

std::vector<std::string> class_names_of(const Json::Object& document) {
    std::vector<std::string> names;
    std::set<std::string> seen;
    for (const Json& name : take<Json::Array>(document, "class_names")) {
        require(name.as<std::string>() != nullptr, "class_names");
        names.push_back(*name.as<std::string>());
        require(seen.insert(names.back()).second, "class_names");
    }
    require(!names.empty(), "class_names");
    return names;
}

Preprocessing preprocessing_of(const Json::Object& document, std::int64_t version) {
    const auto& image = take<Json::Object>(document, "input");
    require(take_number(image, "channels") == 3, "input.channels");
    require(is(image, "layout", "NHWC"), "input.layout");
    require(is(image, "dtype", "uint8"), "input.dtype");
    require(is(image, "colour", "RGB"), "input.colour");
    require(is(image, "interpolation", "bilinear"), "input.interpolation");
    Preprocessing found;
    found.height = take_int(image, "height", 1, kLargestSide);
    found.width = take_int(image, "width", 1, kLargestSide);
    if (version == 1) {  // which squashes, and keeps colours
        return found;
    }
    found.grayscale = take<bool>(image, "grayscale");
    const std::string& mode = take<std::string>(image, "resize");
    require(mode == "squash" || mode == "letterbox" || mode == "crop", "input.resize");
    found.resize = mode == "squash"      ? ResizeMode::squash
                   : mode == "letterbox" ? ResizeMode::letterbox
                                         : ResizeMode::crop;
    return found;
}

std::map<std::string, FileEntry> files_of(const Json::Object& document) {
    std::map<std::string, FileEntry> files;
    for (const auto& [name, value] : take<Json::Object>(document, "files")) {
        require(is_plain_name(name) && name != kManifest, "files");
        require(value.as<Json::Object>() != nullptr, "files." + name);
        const auto& entry = *value.as<Json::Object>();
        FileEntry file{take<std::int64_t>(entry, "bytes"), take<std::string>(entry, "sha256")};
        const bool is_digest =
            file.sha256.size() == 64 &&
            file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
        require(file.bytes >= 0 && is_digest, "files." + name);
        files.emplace(name, std::move(file));
    }
    return files;
}

std::size_t label_of(const Json* name, const std::vector<std::string>& names,
                     const std::string& key) {
    require(name != nullptr && name->as<std::string>() != nullptr, key);
    const auto found = std::find(names.begin(), names.end(), *name->as<std::string>());
    require(found != names.end(), key);
    return static_cast<std::size_t>(found - names.begin());
}

void read_decision(EngineEntry& engine, const Json::Object& entry, const Json::Object& golden,
                   const std::vector<std::string>& names, std::int64_t version) {
    if (find(entry, "decision") == nullptr) {
        require(find(golden, "classes") == nullptr, "decision");
        return;
    }
    require(version > 1, "decision");  // which readers of that version would ignore
    const auto& guarded = take<Json::Object>(entry, "decision");
    engine.decision = Decision{label_of(find(guarded, "class"), names, "class"),
                               take_number(guarded, "threshold")};
    require(engine.decision->threshold >= 0 && engine.decision->threshold <= 1, "threshold");
    for (const Json& name : take<Json::Array>(golden, "classes")) {
        engine.golden_classes.push_back(label_of(&name, names, "golden.classes"));
    }
}

/// Whether this is a release of two to four numbers, such as 10.3.0.30.
bool is_release(const std::string& text) {
    int numbers = 1, digits = 0;
    for (const char sign : text) {
        if (sign == '.' && digits > 0) {
            ++numbers;
            digits = 0;
        } else if (sign < '0' || sign > '9' || ++digits > 9) {
            return false;
        }
    }
    return digits > 0 && numbers >= 2 && numbers <= 4;
}

std::optional<MadeFor> made_for_of(const Json::Object& entry) {
    const auto* made_for = take_optional<Json::Object>(entry, "made_for");
    if (made_for == nullptr) {
        return std::nullopt;
    }
    const std::string& release = take<std::string>(*made_for, "release");
    require(is_release(release), "made_for.release");
    return MadeFor{release, take_int(*made_for, "compute_capability", 10, 999),
                   take_optional_int(*made_for, "dla_core", 0, kMostDlaCores - 1)};
}

std::optional<BuildRecipe> build_of(const Json::Object& entry) {
    const auto* build = take_optional<Json::Object>(entry, "build");
    if (build == nullptr) {
        return std::nullopt;
    }
    BuildRecipe recipe{take<std::string>(*build, "onnx"), take<std::string>(*build, "precision"),
                       take<std::string>(*build, "typing"),
                       take_optional_int(*build, "workspace_mb", 1, 1 << 20),
                       take_optional_int(*build, "dla_core", 0, kMostDlaCores - 1)};
    require(recipe.precision == "fp32" || recipe.precision == "fp16" || recipe.precision == "int8",
            "build.precision");
    require(recipe.typing == "strong" || recipe.typing == "flags", "build.typing");
    return recipe;
}

/// An engine of the list; in versions 1 and 2, the document itself describes the only one.
EngineEntry engine_of(const Json::Object& entry, const std::vector<std::string>& names,
                      std::int64_t version) {
    const auto& golden = take<Json::Object>(entry, "golden");
    const auto& gate = take<Json::Object>(entry, "gate");
    EngineEntry engine;
    engine.info = {take<std::string>(entry, "target"), take<std::string>(entry, "runtime"),
                   take<std::string>(entry, "precision")};
    engine.member = take<std::string>(entry, "engine");
    engine.golden_inputs = version < 3 ? "golden_inputs.npy" : take<std::string>(golden, "inputs");
    engine.golden_outputs =
        version < 3 ? "golden_outputs.npy" : take<std::string>(golden, "outputs");
    engine.tolerance = take_number(golden, "tolerance");
    require(engine.tolerance >= 0, "golden.tolerance");
    const std::string& outcome = take<std::string>(gate, "outcome");
    require(outcome == "passed" || outcome == "failed" || outcome == "inconclusive" ||
                outcome == "not_judged",
            "gate.outcome");
    for (const Json& check : take<Json::Array>(gate, "checks")) {
        require(check.as<Json::Object>() != nullptr, "gate.checks");
    }
    take_optional<Json::Object>(entry, "accuracy");
    take_optional<Json::Object>(entry, "latency");
    if (const auto* threads = take_optional<std::int64_t>(entry, "threads")) {
        require(*threads >= 1, "threads");
        engine.threads = static_cast<int>(std::min<std::int64_t>(*threads, kAny));
    }
    read_decision(engine, entry, golden, names, version);
    if (version > 2) {
        engine.made_for = made_for_of(entry);
        engine.build = build_of(entry);
    }
    return engine;
}

/// Every file that the manifest names is listed, and no engine is a golden array as well.
void check_members(const Manifest& manifest) {
    std::set<std::string> golden;
    if (!manifest.golden_preprocessed.empty()) {
        golden.insert(manifest.golden_preprocessed);
    }
    for (const EngineEntry& engine : manifest.engines) {
        golden.insert({engine.golden_inputs, engine.golden_outputs});
    }
    const auto is_listed = [&](const std::string& name) { return manifest.files.count(name) != 0; };
    require(std::all_of(golden.begin(), golden.end(), is_listed), "files");
    for (const EngineEntry& engine : manifest.engines) {
        require(is_listed(engine.member), "files");
        require(!engine.build || is_listed(engine.build->onnx), "files");
        require(golden.count(engine.member) == 0, "engine");
    }
}

}  // namespace

Manifest parse_manifest(Bytes text) {
    const Json::Object document = parse_object(text);
    const std::int64_t version = take<std::int64_t>(document, "format_version");
    if (version < 1 || version > 3) {
        throw Unfit("its format version is " + std::to_string(version) +
                    ", but this version of tmkd reads 1, 2 and 3");
    }
    Manifest manifest;
    manifest.class_names = class_names_of(document);
    manifest.preprocessing = preprocessing_of(document, version);
    manifest.golden_preprocessed = version == 1 ? "" : "golden_preprocessed.npy";
    manifest.files = files_of(document);
    const auto& output = take<Json::Object>(document, "output");
    require(is(output, "kind", "logits"), "output.kind");
    require(is(output, "dtype", "float32"), "output.dtype");
    take<std::string>(document, "name");
    take<std::string>(document, "tool_version");
    if (version < 3) {
        manifest.engines.push_back(engine_of(document, manifest.class_names, version));
    } else {
        const auto& engines = take<Json::Array>(document, "engines");
        require(!engines.empty() && engines.size() <= kMostEngines, "engines");
        for (const Json& entry : engines) {
            require(entry.as<Json::Object>() != nullptr, "engines");
            manifest.engines.push_back(
                engine_of(*entry.as<Json::Object>(), manifest.class_names, version));
        }
    }
    check_members(manifest);
    return manifest;
}

}  // namespace tmkd::internal
