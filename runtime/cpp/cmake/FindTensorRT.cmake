# Finds TensorRT and the CUDA runtime, and defines the target tensorrt::tensorrt.
#
# TENSORRT_ROOT and CUDA_ROOT are folders with include and lib; JetPack needs neither.
file(GLOB cuda_folders /usr/local/cuda /usr/local/cuda-*)
set(library_folders lib lib64 lib/aarch64-linux-gnu lib/x86_64-linux-gnu)
find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include)
find_library(TensorRT_LIBRARY nvinfer HINTS ${TENSORRT_ROOT} PATH_SUFFIXES ${library_folders})
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h
    HINTS ${CUDA_ROOT} ${cuda_folders} PATH_SUFFIXES include)
find_library(TensorRT_CUDA_LIBRARY cudart
    HINTS ${CUDA_ROOT} ${cuda_folders} PATH_SUFFIXES ${library_folders})

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
    REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR TensorRT_CUDA_LIBRARY TensorRT_CUDA_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "Pass -DTENSORRT_ROOT=FOLDER and -DCUDA_ROOT=FOLDER.")

if(TensorRT_FOUND AND NOT TARGET tensorrt::tensorrt)
    add_library(tensorrt::tensorrt INTERFACE IMPORTED)
    set_target_properties(tensorrt::tensorrt PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR};${TensorRT_CUDA_INCLUDE_DIR}"
        INTERFACE_LINK_LIBRARIES "${TensorRT_LIBRARY};${TensorRT_CUDA_LIBRARY}")
endif()
mark_as_advanced(TensorRT_LIBRARY TensorRT_INCLUDE_DIR TensorRT_CUDA_LIBRARY TensorRT_CUDA_INCLUDE_DIR)
