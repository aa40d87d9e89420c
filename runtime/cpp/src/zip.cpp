// Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 and 4.4.
#include "zip.h"

#include <algorithm>
#include <array>
#include <vector>

#include "unfit.h"

namespace tmkd::internal {
namespace {

constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr std::size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22;
constexpr std::uint32_t kEncrypted = 0x1, kPatched = 0x20, kStronglyEncrypted = 0x40;

[[noreturn]] void incomplete() {
    throw Unfit("it is not a complete zip file");
}

/// The little-endian number of `width` bytes at `at`.
std::uint32_t number(Bytes bytes, std::size_t at, std::size_t width) {
    if (at > bytes.size || bytes.size - at < width) {
        incomplete();
    }
    std::uint32_t value = 0;
    for (std::size_t place = width; place-- > 0;) {
        value = value << 8U | bytes.data[at + place];
    }
    return value;
}

std::string text(Bytes bytes, std::size_t at, std::size_t length) {
    if (at > bytes.size || bytes.size - at < length) {
        incomplete();
    }
    return std::string(bytes.part(at, length).text());
}

struct Entry {
    std::string name;
    std::size_t size, header;  // its size and where its local header begins
    std::uint32_t crc;
};

bool is_regular(std::uint32_t attributes) {
    const std::uint32_t kind = attributes >> 16U & 0170000U;
    return kind == 0 || kind == 0100000U;
}

/// The entry of the directory at `at`, which is moved behind it.
Entry entry_at(Bytes directory, std::size_t& at) {
    if (number(directory, at, 4) != kCentral) {
        incomplete();
    }
    const std::size_t name_bytes = number(directory, at + 28, 2);
    Entry entry{text(directory, at + kCentralBytes, name_bytes), number(directory, at + 24, 4),
                number(directory, at + 42, 4), number(directory, at + 16, 4)};
    if (!is_plain_name(entry.name)) {
        throw Unfit("its member " + quoted(entry.name) + " does not have a plain file name");
    }
    if (!is_regular(number(directory, at + 38, 4))) {
        throw Unfit("its member " + quoted(entry.name) + " is not a regular file");
    }
    const std::uint32_t flags = number(directory, at + 8, 2);
    const std::uint32_t method = number(directory, at + 10, 2);
    if (method != 0 || (flags & (kEncrypted | kPatched | kStronglyEncrypted)) != 0) {
        throw Unfit("its member " + quoted(entry.name) + " is compressed or encrypted");
    }
    if (number(directory, at + 20, 4) != entry.size || number(directory, at + 34, 2) != 0) {
        incomplete();  // stored in another size, or on another disk
    }
    at +=
        kCentralBytes + name_bytes + number(directory, at + 30, 2) + number(directory, at + 32, 2);
    return entry;
}

/// Where the member's bytes begin, by its local header.
std::size_t data_of(Bytes members, const Entry& entry) {
    const std::size_t at = entry.header;
    if (number(members, at, 4) != kLocal || number(members, at + 8, 2) != 0 ||
        text(members, at + kLocalBytes, number(members, at + 26, 2)) != entry.name) {
        incomplete();
    }
    const std::size_t start =
        at + kLocalBytes + number(members, at + 26, 2) + number(members, at + 28, 2);
    if (start > members.size || members.size - start < entry.size) {
        incomplete();
    }
    return start;
}

std::uint32_t crc32(Bytes content) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            std::uint32_t value = byte;
            for (int bit = 0; bit < 8; ++bit) {
                value = (value & 1U) != 0 ? value >> 1U ^ 0xedb88320U : value >> 1U;
            }
            made[byte] = value;
        }
        return made;
    }();
    std::uint32_t value = 0xffffffffU;
    for (std::size_t at = 0; at < content.size; ++at) {
        value = value >> 8U ^ table[(value ^ content.data[at]) & 0xffU];
    }
    return ~value;
}

}  // namespace

bool is_plain_name(const std::string& name) {
    const auto is_letter_or_digit = [](char sign) {
        return (sign >= 'a' && sign <= 'z') || (sign >= 'A' && sign <= 'Z') ||
               (sign >= '0' && sign <= '9');
    };
    return !name.empty() && name.size() <= 128 && is_letter_or_digit(name.front()) &&
           std::all_of(name.begin(), name.end(), [&](char sign) {
               return is_letter_or_digit(sign) || sign == '.' || sign == '_' || sign == '-';
           });
}

std::map<std::string, Bytes> zip_members(Bytes archive) {
    if (archive.size < kEndBytes) {
        incomplete();
    }
    const std::size_t end = archive.size - kEndBytes;
    const std::uint32_t count = number(archive, end + 10, 2);
    const std::size_t directory_bytes = number(archive, end + 12, 4);
    const std::size_t directory_start = number(archive, end + 16, 4);
    const bool is_plain = number(archive, end, 4) == kEnd && number(archive, end + 4, 4) == 0 &&
                          number(archive, end + 8, 2) == count && number(archive, end + 20, 2) == 0;
    if (!is_plain || directory_start > end || directory_bytes != end - directory_start) {
        incomplete();
    }
    const Bytes directory = archive.part(directory_start, directory_bytes);
    const Bytes before = archive.part(0, directory_start);
    std::vector<Entry> entries;
    std::map<std::string, Bytes> members;
    std::uint64_t claimed = 0;
    std::size_t at = 0;
    for (std::uint32_t index = 0; index < count; ++index) {
        entries.push_back(entry_at(directory, at));
        claimed += entries.back().size;
        if (!members.emplace(entries.back().name, Bytes{}).second) {
            throw Unfit("it contains " + quoted(entries.back().name) + " twice");
        }
    }
    if (at != directory.size) {
        incomplete();
    }
    if (claimed > archive.size) {
        throw Unfit("its members claim more bytes than it has");
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& left, const Entry& right) { return left.header < right.header; });
    std::size_t free_from = 0;
    for (const Entry& entry : entries) {
        const std::size_t start = data_of(before, entry);
        if (entry.header < free_from) {
            throw Unfit("its member " + quoted(entry.name) + " overlaps another");
        }
        free_from = start + entry.size;
        const Bytes content = before.part(start, entry.size);
        if (crc32(content) != entry.crc) {
            incomplete();
        }
        members[entry.name] = content;
    }
    return members;
}

}  // namespace tmkd::internal
