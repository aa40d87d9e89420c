// Typed access to the keys of a manifest.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "json.h"
#include "unfit.h"

namespace tmkd::internal {

/// Throws Unfit for the key unless `holds`.
inline void require(bool holds, const std::string& key) {
    if (!holds) {
        throw Unfit("its manifest's " + quoted(key) + " is missing or invalid");
    }
}

/// The value of a key, which must be of this type.
template <typename Type>
const Type& take(const Json::Object& object, const std::string& key) {
    const Json* value = find(object, key);
    require(value != nullptr && value->as<Type>() != nullptr, key);
    return *value->as<Type>();
}

/// The same for a key that may be null or absent: a null pointer.
template <typename Type>
const Type* take_optional(const Json::Object& object, const std::string& key) {
    const Json* value = find(object, key);
    return value == nullptr || value->is_null() ? nullptr : &take<Type>(object, key);
}

/// A number, whole or not.
inline double take_number(const Json::Object& object, const std::string& key) {
    const Json* value = find(object, key);
    if (value != nullptr && value->as<std::int64_t>() != nullptr) {
        return static_cast<double>(*value->as<std::int64_t>());
    }
    return take<double>(object, key);
}

/// A whole number from `least` to `most`.
inline int take_int(const Json::Object& object, const std::string& key, int least, int most) {
    const std::int64_t value = take<std::int64_t>(object, key);
    require(value >= least && value <= most, key);
    return static_cast<int>(value);
}

/// The same for a key that may be null or absent.
inline std::optional<int> take_optional_int(const Json::Object& object, const std::string& key,
                                            int least, int most) {
    if (take_optional<std::int64_t>(object, key) == nullptr) {
        return std::nullopt;
    }
    return take_int(object, key, least, most);
}

}  // namespace tmkd::internal
