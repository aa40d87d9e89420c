// JSON from strangers: bounded depth, numbers and texts, nothing twice, nothing invisible.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bytes.h"

namespace tmkd::internal {

class Json {
  public:
    using Array = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>;  // sorted by key
    /// Whole numbers beyond 64 bits become the nearest that fits.
    using Value =
        std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object>;

    Json() = default;
    explicit Json(Value value) : value_(std::move(value)) {}

    /// The value if it is of this type, otherwise null.
    template <typename Type>
    const Type* as() const {
        return std::get_if<Type>(&value_);
    }
    bool is_null() const { return as<std::nullptr_t>() != nullptr; }

  private:
    Value value_ = nullptr;
};

/// Parses a JSON object from UTF-8.
///
/// Throws Unfit if it is not JSON, not an object, has a key twice, a number that is not finite or
/// has more than 30 characters, a text of more than 4096 characters or with control codes, or more
/// than 20 levels.
Json::Object parse_object(Bytes text);

/// The value of a key, or null if it is not there.
const Json* find(const Json::Object& object, const std::string& key);

}  // namespace tmkd::internal
