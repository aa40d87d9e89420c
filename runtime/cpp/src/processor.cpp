#include <fstream>
#include <sstream>

#include "onnxruntime_engine.h"

namespace tmkd::internal {

bool needs_precise_int8() {
#if defined(__x86_64__) || defined(__i386__)
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (line.compare(0, 5, "flags") != 0) {
            continue;
        }
        std::istringstream flags(line.substr(line.find(':') + 1));
        for (std::string flag; flags >> flag;) {
            if (flag == "avx512_vnni" || flag == "avx512vnni" || flag == "avx_vnni" ||
                flag == "avxvnni") {
                return false;
            }
        }
        return true;
    }
    return true;
#else
    return false;
#endif
}

}  // namespace tmkd::internal
