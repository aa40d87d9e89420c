#include "regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "unfit.h"

namespace tmkd::internal {
namespace {

[[noreturn]] void fail() {
    throw std::system_error(errno, std::generic_category());
}

class Descriptor {
  public:
    // without O_NONBLOCK, a pipe would wait for its writer
    Descriptor(const std::string& path, int flags)
        : number_(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags)) {
        if (number_ < 0) {
            fail();
        }
    }
    ~Descriptor() { close(number_); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int number() const { return number_; }

  private:
    int number_;
};

}  // namespace

FileContent read_regular(const std::string& path, std::uint64_t limit, Owner owner) {
    const Descriptor file(path, owner == Owner::anyone ? 0 : O_NOFOLLOW);
    struct stat state{};
    if (fstat(file.number(), &state) != 0) {
        fail();
    }
    if (S_ISDIR(state.st_mode)) {
        throw std::system_error(EISDIR, std::generic_category());
    }
    if (!S_ISREG(state.st_mode)) {
        throw Unfit("it is a pipe or a device, not a regular file");
    }
    const bool is_own = state.st_uid == geteuid() && (state.st_mode & 022U) == 0;
    if (owner == Owner::this_user && !is_own) {
        throw Unfit("others may have written it");
    }
    if (static_cast<std::uint64_t>(state.st_size) > limit) {
        const bool large = limit >= 1U << 30U;
        throw Unfit("it is larger than " + std::to_string(limit >> (large ? 30U : 20U)) +
                    (large ? " GiB" : " MiB"));
    }
    FileContent content;
    const auto size = static_cast<std::size_t>(state.st_size);
    content.data.reset(new std::uint8_t[size]);
    while (content.size < size) {
        const ssize_t got =
            read(file.number(), content.data.get() + content.size, size - content.size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            fail();
        }
        if (got == 0) {  // it has become shorter
            break;
        }
        content.size += static_cast<std::size_t>(got);
    }
    return content;
}

}  // namespace tmkd::internal
