// Read a bundle as untrusted input.
#pragma once

#include <map>
#include <string>

#include "bytes.h"
#include "manifest.h"
#include "regular_file.h"

namespace tmkd::internal {

/// A bundle whose contents match its manifest.
struct Bundle {
    std::string path;
    FileContent file;
    Manifest manifest;
    std::map<std::string, Bytes> members;  // all but the manifest, as views into `file`
};

/// Reads a bundle and checks the names, sizes and hashes of all its members.
///
/// Throws BundleError if it is missing, truncated, altered, of another format, or unsafe.
Bundle read_bundle(const std::string& path);

}  // namespace tmkd::internal
