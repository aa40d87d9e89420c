# Finds ONNX Runtime's library and C header, and defines the target onnxruntime::onnxruntime.
#
# ONNXRUNTIME_ROOT is a folder with the library, itself or in lib, lib64 or capi: an unpacked release, or
# the folder `onnxruntime` of the Python package. Where it has no header, that of TMKD_ONNXRUNTIME_HEADERS is
# used, which suits every release from 1.20 on.
find_path(ONNXRuntime_INCLUDE_DIR onnxruntime_c_api.h
    HINTS ${ONNXRUNTIME_ROOT}
    PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session)
if(NOT ONNXRuntime_INCLUDE_DIR AND TMKD_ONNXRUNTIME_HEADERS)
    set(ONNXRuntime_INCLUDE_DIR ${TMKD_ONNXRUNTIME_HEADERS} CACHE PATH "ONNX Runtime's headers" FORCE)
endif()
find_library(ONNXRuntime_LIBRARY onnxruntime HINTS ${ONNXRUNTIME_ROOT} PATH_SUFFIXES lib lib64 capi)
if(NOT ONNXRuntime_LIBRARY AND ONNXRUNTIME_ROOT)
    # the Python package has only the name with the version
    foreach(folder IN ITEMS "" /lib /lib64 /capi)
        file(GLOB found ${ONNXRUNTIME_ROOT}${folder}/libonnxruntime.so.*)
        if(found)
            list(GET found 0 first)
            set(ONNXRuntime_LIBRARY ${first} CACHE FILEPATH "ONNX Runtime's library" FORCE)
            break()
        endif()
    endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ONNXRuntime
    REQUIRED_VARS ONNXRuntime_LIBRARY ONNXRuntime_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "Pass -DONNXRUNTIME_ROOT=FOLDER, where FOLDER has libonnxruntime.so.")

if(ONNXRuntime_FOUND AND NOT TARGET onnxruntime::onnxruntime)
    # Programs ask for libonnxruntime.so.1, a name that the Python package lacks.
    get_filename_component(onnxruntime_folder ${ONNXRuntime_LIBRARY} DIRECTORY)
    set(ONNXRuntime_NAMED ${onnxruntime_folder}/libonnxruntime.so.1)
    if(UNIX AND NOT APPLE AND NOT EXISTS ${ONNXRuntime_NAMED})
        set(ONNXRuntime_NAMED ${CMAKE_BINARY_DIR}/onnxruntime/libonnxruntime.so.1)
        file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/onnxruntime)
        file(CREATE_LINK ${ONNXRuntime_LIBRARY} ${ONNXRuntime_NAMED} SYMBOLIC)
    endif()
    add_library(onnxruntime::onnxruntime SHARED IMPORTED)
    set_target_properties(onnxruntime::onnxruntime PROPERTIES
        IMPORTED_LOCATION ${ONNXRuntime_NAMED}
        INTERFACE_INCLUDE_DIRECTORIES ${ONNXRuntime_INCLUDE_DIR})
endif()
mark_as_advanced(ONNXRuntime_LIBRARY ONNXRuntime_INCLUDE_DIR)
