#include "bundle.h"

#include <new>
#include <system_error>

#include "sha256.h"
#include "unfit.h"
#include "zip.h"

namespace tmkd::internal {
namespace {

constexpr std::uint64_t kLargestBundle = 2ULL << 30U;
constexpr std::size_t kLargestManifest = 4U << 20U;

/// The members are those that the manifest declares, with the sizes and hashes that it states.
void check_members(const Bundle& bundle) {
    for (const auto& [name, content] : bundle.members) {
        if (bundle.manifest.files.count(name) == 0) {
            throw Unfit("its manifest does not declare its member " + quoted(name));
        }
    }
    for (const auto& [name, declared] : bundle.manifest.files) {
        const auto found = bundle.members.find(name);
        if (found == bundle.members.end() ||
            found->second.size != static_cast<std::uint64_t>(declared.bytes)) {
            throw Unfit("its file " + quoted(name) + " is missing or truncated");
        }
        if (sha256(found->second) != declared.sha256) {
            throw Unfit("its file " + quoted(name) + " was altered after the bundle was made");
        }
    }
}

}  // namespace

Bundle read_bundle(const std::string& path) {
    try {
        Bundle bundle;
        bundle.path = path;
        bundle.file = read_regular(path, kLargestBundle);
        bundle.members = zip_members(bundle.file.view());
        const auto manifest = bundle.members.find(kManifest);
        if (manifest == bundle.members.end()) {
            throw Unfit("it has no manifest.json");
        }
        if (manifest->second.size > kLargestManifest) {
            throw Unfit("its manifest is too large");
        }
        bundle.manifest = parse_manifest(manifest->second);
        bundle.members.erase(manifest);
        check_members(bundle);
        return bundle;
    } catch (const Unfit& error) {
        throw broken(path, error.what());
    } catch (const std::bad_alloc&) {
        throw broken(path, "it does not fit into this machine's memory");
    } catch (const std::system_error& error) {
        throw BundleError("The bundle cannot be read: " + error.code().message() + ".",
                          "Pass the path of a readable `.tmkd` file.", path);
    }
}

}  // namespace tmkd::internal
