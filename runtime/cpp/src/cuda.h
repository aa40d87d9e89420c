// What inference needs of the CUDA runtime, with owners that free it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace tmkd::internal::cuda {

/// A failed call, as a clause.
class Failure : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* call) {
    if (status != cudaSuccess) {
        throw Failure(std::string("CUDA failed in ") + call + ": " + cudaGetErrorString(status));
    }
}

struct Free {
    void operator()(void* memory) const noexcept { cudaFree(memory); }
};
struct FreeHost {
    void operator()(void* memory) const noexcept { cudaFreeHost(memory); }
};
struct Destroy {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
    void operator()(cudaGraph_t graph) const noexcept { cudaGraphDestroy(graph); }
    void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};

using DeviceMemory = std::unique_ptr<void, Free>;
using PinnedMemory = std::unique_ptr<void, FreeHost>;
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, Destroy>;
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, Destroy>;
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy>;

inline DeviceMemory device_memory(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "cudaMalloc");
    return DeviceMemory(memory);
}

/// Host memory that the GPU can copy from and to by itself.
inline PinnedMemory pinned_memory(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    return PinnedMemory(memory);
}

inline Stream stream() {
    cudaStream_t made = nullptr;
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreate");
    return Stream(made);
}

inline int attribute(cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
    return value;
}

}  // namespace tmkd::internal::cuda
