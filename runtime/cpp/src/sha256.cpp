#include "sha256.h"

#include <array>
#include <cstring>

namespace tmkd::internal {
namespace {

constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using State = std::array<std::uint32_t, 8>;

constexpr std::uint32_t rotated(std::uint32_t word, unsigned right) {
    return (word >> right) | (word << (32U - right));
}

void absorb(State& state, const std::uint8_t* block) {
    std::array<std::uint32_t, 64> words{};
    for (std::size_t at = 0; at < 16; ++at, block += 4) {
        words[at] = static_cast<std::uint32_t>(block[0]) << 24U |
                    static_cast<std::uint32_t>(block[1]) << 16U |
                    static_cast<std::uint32_t>(block[2]) << 8U | block[3];
    }
    for (std::size_t at = 16; at < 64; ++at) {
        const std::uint32_t early = words[at - 15], late = words[at - 2];
        words[at] = words[at - 16] + (rotated(early, 7) ^ rotated(early, 18) ^ (early >> 3U)) +
                    words[at - 7] + (rotated(late, 17) ^ rotated(late, 19) ^ (late >> 10U));
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t at = 0; at < 64; ++at) {
        const std::uint32_t first = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                                    ((e & f) ^ (~e & g)) + kRound[at] + words[at];
        const std::uint32_t second =
            (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    const State done = {a, b, c, d, e, f, g, h};
    for (std::size_t at = 0; at < state.size(); ++at) {
        state[at] += done[at];
    }
}

}  // namespace

std::string sha256(Bytes content) {
    State state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::size_t at = 0;
    for (; content.size - at >= 64; at += 64) {
        absorb(state, content.data + at);
    }
    // the rest, a one bit, zeros, and the length in bits
    std::array<std::uint8_t, 128> tail{};
    const std::size_t rest = content.size - at;
    if (rest != 0) {
        std::memcpy(tail.data(), content.data + at, rest);
    }
    tail[rest] = 0x80;
    const std::size_t end = rest < 56 ? 64 : 128;
    std::uint64_t bits = static_cast<std::uint64_t>(content.size) * 8;
    for (std::size_t place = end; bits != 0; bits >>= 8U) {
        tail[--place] = static_cast<std::uint8_t>(bits & 0xffU);
    }
    for (std::size_t start = 0; start < end; start += 64) {
        absorb(state, tail.data() + start);
    }
    std::string text;
    for (const std::uint32_t word : state) {
        for (unsigned shift = 32; shift != 0;) {
            shift -= 4;
            text += "0123456789abcdef"[(word >> shift) & 0xfU];
        }
    }
    return text;
}

}  // namespace tmkd::internal
