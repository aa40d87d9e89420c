// Refuse an ONNX model that could run for ever, read other files or call foreign code.
#pragma once

#include "bytes.h"

namespace tmkd::internal {

/// Checks the bytes that ONNX Runtime will parse, before it does. Memory is not checked: operators
/// may still ask for any amount of it.
///
/// Throws Unfit if it is no ONNX model, or has control flow, functions, sparse tensors, weights in
/// other files, or operators from outside the ONNX standard.
void refuse_unsafe(Bytes model);

}  // namespace tmkd::internal
