// Source: RFC 8259.
#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <locale>
#include <sstream>
#include <string_view>

#include "unfit.h"
#include "utf8.h"

namespace tmkd::internal {
namespace {

constexpr int kDeepest = 20;
constexpr std::size_t kLongestNumber = 30, kLongestText = 4096;

[[noreturn]] void not_json() {
    throw Unfit("its manifest is not JSON");
}

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    Json::Object document() {
        if (next() != '{') {
            value(1);
            throw Unfit("its manifest is not a JSON object");
        }
        Json::Object found = object(1);
        next();
        if (at_ != text_.size()) {
            not_json();
        }
        return found;
    }

  private:
    /// The next character that is no white space; 0 at the end.
    char next() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' ||
                                      text_[at_] == '\n' || text_[at_] == '\r')) {
            ++at_;
        }
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    /// Whether this is the next character that is no white space, which is then passed.
    bool passes(char expected) {
        if (next() != expected) {
            return false;
        }
        ++at_;
        return true;
    }

    bool take(std::string_view expected) {
        if (text_.substr(at_, expected.size()) != expected) {
            return false;
        }
        at_ += expected.size();
        return true;
    }

    Json value(int level) {
        if (level > kDeepest) {
            throw Unfit("its manifest has more than 20 levels");
        }
        switch (next()) {
            case '{':
                return Json(object(level));
            case '[':
                return Json(array(level));
            case '"':
                return Json(text());
            default:
                break;
        }
        if (take("true")) {
            return Json(true);
        }
        if (take("false")) {
            return Json(false);
        }
        if (take("null")) {
            return Json();
        }
        if (take("NaN") || take("Infinity") || take("-Infinity")) {
            not_finite();
        }
        return number();
    }

    Json::Object object(int level) {
        Json::Object members;
        ++at_;
        if (passes('}')) {
            return members;
        }
        do {
            if (next() != '"') {
                not_json();
            }
            std::string key = text();
            if (!passes(':')) {
                not_json();
            }
            members.emplace_back(std::move(key), value(level + 1));
        } while (passes(','));
        if (!passes('}')) {
            not_json();
        }
        std::sort(members.begin(), members.end(),
                  [](const auto& left, const auto& right) { return left.first < right.first; });
        const auto twice = std::adjacent_find(
            members.begin(), members.end(),
            [](const auto& left, const auto& right) { return left.first == right.first; });
        if (twice != members.end()) {
            throw Unfit("its manifest has a key twice");
        }
        return members;
    }

    Json::Array array(int level) {
        Json::Array items;
        ++at_;
        if (passes(']')) {
            return items;
        }
        do {
            items.push_back(value(level + 1));
        } while (passes(','));
        if (!passes(']')) {
            not_json();
        }
        return items;
    }

    std::string text() {
        std::string found;
        std::size_t length = 0;
        bool is_clean = true;
        ++at_;
        while (at_ < text_.size() && text_[at_] != '"') {
            const std::int32_t code = text_[at_] == '\\' ? escaped() : next_code_point(text_, at_);
            if (code < 0) {
                not_json();
            }
            if (++length > kLongestText) {
                throw Unfit("its manifest has a text of more than 4096 characters");
            }
            const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
            is_clean = is_clean && !is_surrogate && !is_invisible(code);
            if (!is_surrogate) {
                append_code_point(found, static_cast<std::uint32_t>(code));
            }
        }
        if (!take("\"")) {
            not_json();
        }
        if (!is_clean) {
            throw Unfit("its manifest has a text with control codes");
        }
        return found;
    }

    /// The code point of the escape sequence here; a surrogate if it is alone, -1 if it is none.
    std::int32_t escaped() {
        ++at_;
        if (at_ == text_.size()) {
            return -1;
        }
        const char sign = text_[at_++];
        constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        if (const std::size_t found = names.find(sign); found != std::string_view::npos) {
            return meanings[found];
        }
        if (sign != 'u') {
            return -1;
        }
        const std::int32_t high = four_digits();
        if (high < 0xd800 || high > 0xdbff || text_.substr(at_, 2) != "\\u") {
            return high;
        }
        const std::size_t before = at_;
        at_ += 2;
        const std::int32_t low = four_digits();
        if (low >= 0xdc00 && low <= 0xdfff) {
            return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
        at_ = before;
        return high;
    }

    std::int32_t four_digits() {
        std::int32_t code = 0;
        for (int place = 0; place < 4; ++place) {
            const char sign = at_ < text_.size() ? text_[at_++] : '\0';
            if (sign >= '0' && sign <= '9') {
                code = code * 16 + (sign - '0');
            } else if (sign >= 'a' && sign <= 'f') {
                code = code * 16 + (sign - 'a' + 10);
            } else if (sign >= 'A' && sign <= 'F') {
                code = code * 16 + (sign - 'A' + 10);
            } else {
                not_json();
            }
        }
        return code;
    }

    bool digits() {
        const std::size_t start = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
            ++at_;
        }
        return at_ != start;
    }

    Json number() {
        const std::size_t start = at_;
        take("-");
        if (!take("0") && !digits()) {
            not_json();
        }
        bool is_whole = true;
        if (take(".")) {
            is_whole = false;
            if (!digits()) {
                not_json();
            }
        }
        if (take("e") || take("E")) {
            is_whole = false;
            if (!take("+")) {
                take("-");
            }
            if (!digits()) {
                not_json();
            }
        }
        if (at_ - start > kLongestNumber) {
            not_finite();
        }
        return converted(std::string(text_.substr(start, at_ - start)), is_whole);
    }

    static Json converted(const std::string& digits, bool is_whole) {
        if (is_whole) {  // beyond 64 bits, this is the nearest that fits
            return Json(static_cast<std::int64_t>(std::strtoll(digits.c_str(), nullptr, 10)));
        }
        // strtod would read a number as the locale of the application writes it
        std::istringstream stream(digits);
        stream.imbue(std::locale::classic());
        double value = 0;
        if (!(stream >> value) || !std::isfinite(value)) {
            not_finite();
        }
        return Json(value);
    }

    [[noreturn]] static void not_finite() {
        throw Unfit("its manifest has a number that is not finite or has too many digits");
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

Json::Object parse_object(Bytes text) {
    return Parser(text.text()).document();
}

const Json* find(const Json::Object& object, const std::string& key) {
    const auto found = std::lower_bound(
        object.begin(), object.end(), key,
        [](const auto& member, const std::string& wanted) { return member.first < wanted; });
    return found != object.end() && found->first == key ? &found->second : nullptr;
}

}  // namespace tmkd::internal
